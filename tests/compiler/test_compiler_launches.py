"""The launches of a compiled program, counted in its text."""

from dnas.compiler.launches import launches

TEXT = """HloModule jit_f, is_scheduled=true

%body (p: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %p = (s32[], f32[4,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[4,8]{1,0} get-tuple-element(%p), index=1
  %y = f32[4,8]{1,0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %t = (s32[], f32[4,8]{1,0}) tuple(%i, %y)
}

%fused (a: f32[4,8]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  ROOT %m = f32[4,8]{1,0} multiply(%a, %a)
}

ENTRY %main (x.1: f32[4,8], w.1: bf16[8,2]) -> f32[4,2] {
  %x.1 = f32[4,8]{1,0} parameter(0)
  %w.1 = bf16[8,2]{1,0} parameter(1)
  %zero = s32[] constant(0)
  %in = (s32[], f32[4,8]{1,0}) tuple(%zero, %x.1)
  %loop = (s32[], f32[4,8]{1,0}) while(%in), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %z = f32[4,8]{1,0} get-tuple-element(%loop), index=1
  %product = (f32[4,2]{1,0}, s8[16]{0}) custom-call(%z, %w.1), custom_call_target="__cublas$gemm"
  %r = f32[4,2]{1,0} get-tuple-element(%product), index=0
  ROOT %copy = f32[4,2]{0,1} copy(%r)
}
"""


def test_the_body_of_a_loop_counts_at_every_turn():
  found = launches(TEXT)
  of_loop, of_product, of_copy = 3 * 2 * (4 * 4 * 8), (4 * 4 * 2 + 16) + 4 * 4 * 8 + 2 * 8 * 2, 2 * (4 * 4 * 2)
  assert found == (3, 1, 1, of_loop + of_product + of_copy) and found.all == 5
