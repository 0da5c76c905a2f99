"""Evaluators: how good is this architecture?"""
