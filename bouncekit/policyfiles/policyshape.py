"""How the values of a policy file stand together: mappings, lists, keys left out, and shorter ways to write them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import core_schema

from bouncekit.policyfiles.policyvalue import MAX_ITEMS, MAX_RULE_FILES, RuleFileName

__all__ = ["BOUND", "AnyOf", "Many", "Maybe", "RuleFiles", "Section", "Short"]


@dataclass(frozen=True, slots=True, eq=False)
class Short:
    """A shorter way to write a value: how it becomes the long one, and what an editor takes for it."""

    expand: Callable[[Any], object]
    schema: Mapping[str, object] | str | None = None  # a key: the form that its value has; None: an item of a list
    of: tuple[type, ...] = (str,)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: self.expand(value) if isinstance(value, self.of) else value, handler(source)
        )

    def __get_pydantic_json_schema__(self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        full = handler(core)
        if isinstance(self.schema, str):
            like = handler.resolve_ref_schema(full)["properties"][self.schema]
            return {"anyOf": [*like["anyOf"], full]}
        return {"anyOf": [self.schema if self.schema is not None else full["items"], full]}


T = TypeVar("T")
_ONE = Short(lambda value: [value], of=(str, dict))
BOUND = Field(max_length=MAX_ITEMS, min_length=1)
Maybe = Union[T, SkipJsonSchema[None]]  # noqa: UP007 - a key that may be left out; null is not a way to do so
Many = Annotated[list[T], BOUND, AfterValidator(tuple), _ONE]  # one value or a list of them
RuleFiles = Annotated[list[RuleFileName], Field(max_length=MAX_RULE_FILES, min_length=1), AfterValidator(tuple), _ONE]
AnyOf = Annotated[list[T], BOUND, AfterValidator(frozenset), _ONE]  # the same, where the order says nothing


class Section(BaseModel):
    """A mapping in the file: no other keys than these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def given(self) -> dict[str, Any]:
        """The values that the file states."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
