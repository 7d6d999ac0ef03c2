"""A small causal transformer on tokens, built of plain linear layers so that all can be pruned."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sparsekit.models.initialise import zero_bias_
from sparsekit.models.shapes import InputShape


class Attention(nn.Module):
    """Multi-head attention of every token to itself and those before it."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, width] to [B, T, width]."""
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a perceptron, each on a normalised input and added to it (pre-norm)."""

    def __init__(self, width: int, num_heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads, dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, mlp_width)
        self.activation = nn.GELU()
        self.down = nn.Linear(mlp_width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, width] to [B, T, width]."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.down(self.activation(self.up(self.mlp_norm(x)))))


class Transformer(nn.Module):
    """Embeddings of tokens and of their positions, blocks, a norm and a head."""

    def __init__(
        self,
        *,
        num_tokens: int,
        length: int,
        width: int,
        num_layers: int,
        num_heads: int,
        mlp_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.length = length
        self.token_embedding = nn.Embedding(num_tokens, width)
        self.position_embedding = nn.Embedding(length, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(Block(width, num_heads, mlp_width, dropout) for _ in range(num_layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens, int64 [B, T] with T <= length, to next-token logits [B, T, num_tokens]."""
        if tokens.is_floating_point() or tokens.ndim != 2 or tokens.shape[1] > self.length:
            raise ValueError(
                f"tokens must be int64 [B, T] with T <= {self.length}, not {tokens.dtype} "
                f"{list(tokens.shape)}"
            )
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        return self.head(self.norm(self.blocks(self.dropout(x))))


def transformer(
    input_shape: InputShape,
    num_outputs: int,
    *,
    width: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    mlp_width: int | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Build a causal transformer for next-token prediction: int64 [B, T] -> [B, T, num_outputs].

    As GPT-2 (Radford et al. 2019): learned positions, pre-norm blocks, GELU, `mlp_width` 4 * width
    unless it is given. `input_shape` is (T,), and tokens are what is predicted, 0 .. num_outputs-1.
    Query, key and value are layers of their own, so that each has a mask and a density. The head
    is not tied to the embedding. With 256 tokens, T = 64 and the defaults: 6 * 2 + 1 = 13 prunable
    weights of 114,688 entries, 137,216 parameters.

    Initialisation: N(0, 0.02), layers that add to the residual stream N(0, 0.02 / sqrt(2 layers)),
    biases 0.

    Raises ValueError for another input than (T,), a width that the heads do not divide or that is
    no multiple of 8, and dropout outside [0, 1).
    """
    if not isinstance(input_shape, tuple | list) or len(input_shape) != 1:
        raise ValueError(f"input_shape={input_shape}: a transformer needs tokens (T,)")
    if width < 8 or width % 8 or num_heads < 1 or width % num_heads:
        raise ValueError(
            f"width={width}, num_heads={num_heads}: width must be a multiple of 8 and of num_heads"
        )
    if num_layers < 1 or not 0 <= dropout < 1:
        raise ValueError(
            f"num_layers={num_layers}, dropout={dropout}: needs a layer, and 0 <= dropout < 1"
        )
    model = Transformer(
        num_tokens=num_outputs,
        length=input_shape[0],
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        mlp_width=4 * width if mlp_width is None else mlp_width,
        dropout=dropout,
    )
    _initialise_(model, num_layers)
    return model


def _initialise_(model: nn.Module, num_layers: int) -> None:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Embedding):
            adds = name.endswith((".out", ".down"))
            nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * num_layers) if adds else 0.02)
        zero_bias_(layer)
