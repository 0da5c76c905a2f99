"""Searches: which architecture next?"""
