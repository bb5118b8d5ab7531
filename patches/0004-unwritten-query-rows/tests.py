@pytest.mark.simulation
@pytest.mark.parametrize("seqlen_q", [100, 200])
def test_flash_attn_fwd_refuses_unfinished_query_tile(self, seqlen_q):
    device = xm.xla_device()
    q = torch.randn(1, 1, 128, seqlen_q, dtype=torch.bfloat16).to(device)
    k = torch.randn(1, 1, 128, 2048, dtype=torch.bfloat16).to(device)
    v = torch.randn(1, 1, 2048, 128, dtype=torch.bfloat16).to(device)
    with pytest.raises(AssertionError, match="multiple of 128"):
        flash_fwd[1, 1](q, k, v, window_size=(-2, -1))
