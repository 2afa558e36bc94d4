"""The values of a `config.json`: of which type each must be, and within which range.

A config comes from outside. The ranges are far above those of real models, and within what one
machine can try: a value outside of them is a mistake or an attack, and is refused before anything
is built. Whether a model fits the memory is checked later.
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
    """The settings that decide which tensors exist and how they are used.

    They have HookedTransformer's names. The switches are those that not every architecture has.
    """

    n_layers: int = Field(ge=1, le=1000)
    d_model: int = Field(ge=1, le=2**17)
    n_heads: int = Field(ge=1, le=2**12)
    d_mlp: int = Field(ge=1, le=2**20)
    n_ctx: int = Field(ge=1, le=2**24)
    d_vocab: int = Field(ge=1, le=2**24)
    eps: Number = Field(gt=0, le=1)
    parallel_attn_mlp: bool = False
    attention_bias: bool = True
    tied: bool = False


class RopeParameters(_Values):
    """How queries and keys are rotated.

    Its defaults are not used: a missing value is given by an older key.
    """

    partial_rotary_factor: Number = Field(default=1.0, gt=0, le=1)
    rope_theta: Number = Field(default=10_000.0, ge=1, le=1e15)


class LinearScaling(_Values):
    """The factor by which positions are stretched in a model with an extended context."""

    factor: Number = Field(ge=1e-6, le=1e6)


def read_values(
    kind: type[Kind], given: Mapping[str, Any], *, names: Mapping[str, str] = {}, place: str = ""
) -> Kind:
    """Values from a parsed `config.json`, or from an object in it.

    Args:
        given: the values by their fields.
        names: the config's key of a field, where it has another name, for messages.
        place: the object's key, for messages.

    Raises:
        CheckpointError: one is missing, of another type or out of its range; the message names the
            key, its value, and what it must be.
    """
    try:
        return kind.model_validate(dict(given))
    except ValidationError as caught:
        first = caught.errors(include_url=False, include_context=False)[0]
        field, within = str(first["loc"][0]), f" of {place}" if place else ""
        is_one_of = _expected(kind.model_fields[field])
        raise CheckpointError(
            f"config.json: {names.get(field, field)}{within} is {shown(given.get(field))}: it must"
            f" be {is_one_of}"
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
