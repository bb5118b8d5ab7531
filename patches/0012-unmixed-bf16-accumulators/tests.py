@pytest.mark.simulation
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_flash_attn_fwd_accumulates_in_fp32(self, dtype):
    seqlen = 2048
    q = torch.randn(1, 1, seqlen, 128, dtype=dtype)
    k = torch.randn(1, 1, seqlen, 128, dtype=dtype)
    v = torch.ones(1, 1, seqlen, 128, dtype=dtype)

    device = xm.xla_device()
    q = q.permute(0, 1, 3, 2).to(device)
    k = k.permute(0, 1, 3, 2).to(device)
    attn_nki = flash_fwd[1, 1](q, k, v.to(device), window_size=(-2, -1), mixed_precision=False)

    # weights add up to 1, so ones stay ones, up to the rounding of weights and output
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(attn_nki.to('cpu'), v, atol=rounding, rtol=0)
