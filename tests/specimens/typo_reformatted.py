"""Marks the tiles that a window reaches; written by someone with another formatter and a taste for types."""
import neuronxcc.nki as nki, neuronxcc.nki.language as nl

@nki.jit(platform_target='trn1')
def flash_fwd(
    tiles,
    use_causal_mask = True,
    window = 0,
):
    marks = nl.ndarray((tiles.shape[0], 128, 1), dtype = nl.float32, buffer = nl.shared_hbm)
    for tile in nl.affine_range(tiles.shape[0]):
        if (
            use_causal_mask
            and window < 0
        ): causal_mask: bool = (tile <= 2)
        elif (window > 0):
            (causal_mask) = tile <= window
        # neither one nor the other
        else:
            # every tile counts
            (casual_mask) = (True)    # noqa: E501, F841
        # casual mask
        pred_causal = (
            tile >= 0  # Casual mask.
        )
        nl.store(marks[tile], nl.full((nl.par_dim(128), 1), bool(causal_mask), dtype = nl.float32))
    return marks
