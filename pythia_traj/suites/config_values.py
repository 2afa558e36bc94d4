"""The values of a `config.json`: of which type each must be, and within which range.

A config comes from whoever published the weights. The ranges are far beyond any model there is, and
within what one machine can try: a value outside of them is a slip or an attack, and says so before
anything is built. Whether a model fits the memory is asked later.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from pythia_traj.errors import CheckpointError
from pythia_traj.outside import shown

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Values(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


Kind = TypeVar("Kind", bound=_Values)


class Values(_Values):
    """What decides which tensors there are and how they are used; a default is transformers'."""

    num_hidden_layers: int = Field(ge=1, le=1000)
    hidden_size: int = Field(ge=1, le=2**17)
    num_attention_heads: int = Field(ge=1, le=2**12)
    intermediate_size: int = Field(ge=1, le=2**20)
    max_position_embeddings: int = Field(ge=1, le=2**24)
    vocab_size: int = Field(ge=1, le=2**24)
    layer_norm_eps: Number = Field(default=1e-5, gt=0, le=1)
    use_parallel_residual: bool = True
    attention_bias: bool = True
    tie_word_embeddings: bool = False


class Rotary(_Values):
    """How queries and keys are rotated, under the names of older configs."""

    rotary_pct: Number = Field(default=0.25, gt=0, le=1)
    rotary_emb_base: Number = Field(default=10_000.0, ge=1, le=1e15)


class RopeParameters(_Values):
    """The same under the names of `rope_parameters` and `rope_scaling`.

    What stands there comes first.
    """

    partial_rotary_factor: Number = Field(default=0.25, gt=0, le=1)
    rope_theta: Number = Field(default=10_000.0, ge=1, le=1e15)


class LinearScaling(_Values):
    """By how much the positions of a model are stretched whose context was extended."""

    factor: Number = Field(ge=1e-6, le=1e6)


def read_values(kind: type[Kind], given: Mapping[str, Any], *, place: str = "") -> Kind:
    """Values out of a parsed `config.json`, or out of an object in it.

    Args:
        place: the object's key, for messages.

    Raises:
        CheckpointError: one is missing, of another type or out of its range; the message names it,
            what it is, and what it must be.
    """
    try:
        return kind.model_validate(dict(given))
    except ValidationError as caught:
        first = caught.errors(include_url=False, include_context=False)[0]
        key, within = str(first["loc"][0]), f" of {place}" if place else ""
        is_one_of = _expected(kind.model_fields[key])
        raise CheckpointError(
            f"config.json: {key}{within} is {shown(given.get(key))}: it must be {is_one_of}"
        ) from None


def _expected(field: FieldInfo) -> str:
    """What a field accepts, in words."""
    if field.annotation is bool:
        return "true or false"
    above = next((f" above {bound.gt}" for bound in field.metadata if isinstance(bound, Gt)), "")
    least = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    if field.annotation is float:
        return (
            f"a number{above} and at most {most:g}"
            if above
            else f"a number from {least:g} to {most:g}"
        )
    return (
        f"a whole number above 0 and at most {most}"
        if least == 1
        else f"a whole number from {least} to {most}"
    )
