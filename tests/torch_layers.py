"""Torch's own attention and transformer layers with the weights of ours, as an independent answer."""

import torch
from torch import Tensor, nn

from metamedica.functional.attention import Attention, AttentionLayer


def _weights(ours: Attention) -> dict[str, Tensor]:
    maps = (ours.query, ours.key, ours.value)
    return {
        "in_proj_weight": torch.cat([one.weight for one in maps]),
        "in_proj_bias": torch.cat([one.bias for one in maps]),
        "out_proj.weight": ours.out.weight,
        "out_proj.bias": ours.out.bias,
    }


def torch_attention(ours: Attention) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(ours.out.in_features, ours.heads, batch_first=True).double()
    theirs.load_state_dict(_weights(ours))
    return theirs


def torch_layer(ours: AttentionLayer) -> nn.TransformerEncoderLayer:
    width, first, last = ours.norm.normalized_shape[0], ours.perceptron[0], ours.perceptron[2]
    theirs = nn.TransformerEncoderLayer(
        width,
        ours.attention.heads,
        dim_feedforward=first.out_features,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    ).double()
    weights = {f"self_attn.{name}": value for name, value in _weights(ours.attention).items()}
    named = {"norm1": ours.norm, "norm2": ours.perceptron_norm, "linear1": first, "linear2": last}
    for name, module in named.items():
        weights |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
    theirs.load_state_dict(weights)
    return theirs
