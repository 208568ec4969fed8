"""The columns of a table as a few labelled cases show them: scaled by these cases, those that tell most of the label first, names forgotten.

What is found depends on nothing but the labelled cases of the task, so tables with other columns are read alike.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

_LEAST_VARIANCE = 1e-8
_LEAST = 1e-6
_CLIP = 4.0
_STEADY = 1e-3
"""Squared correlation at which a column is turned by about 0.7 of its sign: a correlation of rounding size must not turn it."""
_TIE = 1e-6


@dataclass(frozen=True)
class ShownColumns:
    """What the labelled cases of each task say of its columns; the chosen ones come first, the others are left out.

    Args:
        centre: mean of each column over the labelled cases.
        scale: standard deviation over the labelled cases; of a column of two values half their distance, so that a rare one does not count for
            more than a balanced one; 1 where the column does not vary.
        varies: whether they show more than one value.
        index: place of each chosen column among the table's.
        there: false where a task has fewer columns that vary.
        told: correlation of the chosen column with the label (point-biserial), 0 where there is none.
        two_valued: whether the labelled cases show two values only.
    """

    centre: Float[Tensor, "tasks columns"]
    scale: Float[Tensor, "tasks columns"]
    varies: Bool[Tensor, "tasks columns"]
    index: Int64[Tensor, "tasks k"]
    there: Bool[Tensor, "tasks k"]
    told: Float[Tensor, "tasks k"]
    two_valued: Bool[Tensor, "tasks k"]

    def every(self, flat: Float[Tensor, "tasks m columns"]) -> Float[Tensor, "tasks m columns"]:
        """Return cases in units of the labelled ones, within 4 of their mean; 0 in a column that does not vary."""
        standard = ((flat - self.centre[:, None]) / self.scale[:, None]).clamp(-_CLIP, _CLIP)
        return standard.masked_fill(~self.varies[:, None], 0)

    def chosen(self, standard: Float[Tensor, "tasks m columns"]) -> Float[Tensor, "tasks m k"]:
        """Return the chosen columns of what `every` returned; 0 in one that is not there."""
        return standard.gather(2, self.index[:, None].expand(-1, standard.shape[1], -1))

    @property
    def varying(self) -> Float[Tensor, " tasks"]:
        """How many columns vary, chosen or not."""
        return self.varies.sum(1).to(self.centre.dtype)

    @property
    def turn(self) -> Float[Tensor, "tasks k"]:
        """The sign of what a column tells, passing smoothly through 0."""
        return self.told / (self.told.square() + _STEADY).sqrt()


def shown_columns(
    flat: Float[Tensor, "tasks n columns"],
    mask: Bool[Tensor, "tasks n"],
    labels: Float[Tensor, "tasks n"],
    *,
    most: int,
) -> ShownColumns:
    """Return what labelled cases say of their columns.

    Args:
        flat: the cases; not read where padded.
        mask: real cases.
        labels: 1 or 0; 0 where padded.
        most: columns that are chosen at most, by how much they tell of the label; of columns that tell the same, the first.
    """
    there = mask[..., None].to(flat.dtype)
    count = mask.sum(1).clamp(min=1).to(flat.dtype)[:, None]
    flat = flat.masked_fill(~mask[..., None], 0)
    centre = flat.sum(1) / count
    centred = (flat - centre[:, None]) * there
    variance = centred.square().sum(1) / count
    varies = variance > _LEAST_VARIANCE
    share = labels.sum(1, keepdim=True) / count
    about = (labels - share) * mask / (share * (1 - share)).clamp(min=_LEAST).sqrt()
    spread = torch.where(varies, variance, torch.ones_like(variance)).sqrt()
    told = ((centred * about[..., None]).sum(1) / (count * spread)).masked_fill(~varies, 0)
    low = flat.masked_fill(~mask[..., None], torch.inf).amin(1, keepdim=True)
    high = flat.masked_fill(~mask[..., None], -torch.inf).amax(1, keepdim=True)
    two_valued = ((flat == low) | (flat == high) | ~mask[..., None]).all(1) & varies
    scale = torch.where(two_valued, (high - low)[:, 0] / 2, spread)

    places = torch.arange(flat.shape[-1], device=flat.device)
    # Columns that mirror each other tell the same but for rounding, which must not choose between them.
    rank = (told.abs() / _TIE).round() * _TIE - places * (_TIE / (2 * flat.shape[-1])) + varies
    wide = min(most, flat.shape[-1])
    if not torch.compiler.is_compiling():
        wide = min(wide, max(1, int(varies.sum(1).max())))
    index = rank.topk(wide, dim=1).indices
    of_chosen = [each.gather(1, index) for each in (varies, told, two_valued)]
    return ShownColumns(centre, scale, varies, index, *of_chosen)
