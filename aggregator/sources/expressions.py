"""JMESPath expressions over a body, with exact numbers and a few functions beside the standard ones."""

from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, DecimalException
from functools import reduce
from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions, signature

MAX_EXPRESSION_LENGTH = 1000

ANY: dict[str, list[str]] = {"types": []}
_ARITHMETIC = Context(prec=40)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class _Functions(Functions):  # type: ignore[misc] # the package has no types
    """The standard functions, those that meet numbers with exact ones, and what presets need."""

    def _type_check(self, actual: Any, signature: Any, function_name: str) -> None:
        """Let a Decimal count as a number; the library knows int and float only."""
        super()._type_check([_json_like(value) for value in actual], signature, function_name)

    def _convert_to_jmespath_type(self, pyobject: str) -> str:
        return super()._convert_to_jmespath_type("float" if pyobject == "Decimal" else pyobject)  # type: ignore[no-any-return]

    @signature(ANY)
    def _func_type(self, value: Any) -> str:
        return self._convert_to_jmespath_type(type(value).__name__)

    @signature({"types": ["array-number"]})
    def _func_sum(self, numbers: list[Decimal | int]) -> Decimal:
        return reduce(_ARITHMETIC.add, numbers, Decimal(0))

    @signature({"types": ["array-number"]})
    def _func_avg(self, numbers: list[Decimal | int]) -> Decimal | None:
        return _ARITHMETIC.divide(self._func_sum(numbers), len(numbers)) if numbers else None

    @signature({"types": ["number"]})
    def _func_ceil(self, number: Decimal | int) -> Decimal | int:
        return _whole(number, ROUND_CEILING)

    @signature({"types": ["number"]})
    def _func_floor(self, number: Decimal | int) -> Decimal | int:
        return _whole(number, ROUND_FLOOR)

    @signature(ANY)
    def _func_to_number(self, value: Any) -> Decimal | int | None:
        return exact(value)

    @signature(ANY)
    def _func_to_string(self, value: Any) -> str:
        return value if isinstance(value, str) else _encode(value).decode()

    @signature(ANY, ANY)
    def _func_add(self, left: Any, right: Any) -> Decimal | None:
        return _calculate(_ARITHMETIC.add, left, right)

    @signature(ANY, ANY)
    def _func_subtract(self, left: Any, right: Any) -> Decimal | None:
        return _calculate(_ARITHMETIC.subtract, left, right)

    @signature(ANY, ANY)
    def _func_multiply(self, left: Any, right: Any) -> Decimal | None:
        return _calculate(_ARITHMETIC.multiply, left, right)

    @signature(ANY)
    def _func_lower(self, value: Any) -> str | None:
        return value.lower() if isinstance(value, str) else None

    @signature(ANY)
    def _func_from_json(self, value: Any) -> Any:
        """Return what JSON text holds, null for any other text."""
        try:
            return _decode(value) if isinstance(value, str) else None
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None

    @signature(ANY, ANY)
    def _func_venue_symbol(self, venue: Any, symbol: Any) -> str | None:
        """Return `VENUE:SYMBOL` as TradingView writes it; a venue's mark of delayed prices is left out."""
        if not isinstance(symbol, str) or not symbol:
            return None
        own, colon, name = symbol.rpartition(":")
        if not colon:
            own = venue if isinstance(venue, str) else ""
        own = own.strip().upper().removesuffix("_DLY").removesuffix("_DL")
        return f"{own}:{name}" if own else name


def _json_like(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_like(item) for item in value]
    return 0 if isinstance(value, Decimal) else value


_encode = msgspec.json.Encoder(decimal_format="number").encode
_options = jmespath.Options(custom_functions=_Functions())


def exact(value: Any) -> Decimal | int | None:
    """Return a number, or the number that a text holds, exactly; None for anything else."""
    if isinstance(value, Decimal) or type(value) is int:
        return value
    if type(value) is float:  # a literal of the expression's own
        value = repr(value)
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        number = Decimal(value.strip())
    except DecimalException:
        return None
    return number if number.is_finite() else None


def _whole(number: Decimal | int, rounding: str) -> Decimal | int:
    """Return a number rounded to an integer, which 1e999999 as an int would take minutes to become."""
    whole = Decimal(number).to_integral_value(rounding)
    return int(whole) if whole.adjusted() < _ARITHMETIC.prec else whole


def _calculate(operation: Callable[[Decimal, Decimal], Decimal], left: Any, right: Any) -> Decimal | None:
    numbers = exact(left), exact(right)
    if numbers[0] is None or numbers[1] is None:
        return None
    try:
        result = operation(Decimal(numbers[0]), Decimal(numbers[1]))
    except DecimalException:
        return None
    return result if result.is_finite() else None


class Expression:
    """A compiled JMESPath expression."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, in one line, for one that is no JMESPath or calls an unknown function."""
        if len(text) > MAX_EXPRESSION_LENGTH:
            raise ValueError(f"an expression has at most {MAX_EXPRESSION_LENGTH} characters")
        try:
            self._parsed = jmespath.compile(text)
        except (JMESPathError, RecursionError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(f"not JMESPath: {reason}") from None
        for node in _nodes(self._parsed.parsed):
            if node["type"] == "function_expression" and node["value"] not in _Functions.FUNCTION_TABLE:
                raise ValueError(f"there is no function {node['value']}()")
            if node["type"] == "literal":  # exact, as numbers of bodies are
                node["value"] = _decode(_encode(node["value"]))

    def search(self, document: Any) -> Any:
        """Return what the expression finds, None where it finds nothing or does not fit the document."""
        try:
            return self._parsed.search(document, _options)
        except (JMESPathError, RecursionError, ArithmeticError, TypeError, ValueError):
            return None


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a syntax tree."""
    if isinstance(node, dict):
        yield node
        for child in node["children"]:
            yield from _nodes(child)
