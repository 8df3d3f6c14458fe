"""The JSON Schema of a playbook (draft 2020-12), for editors. Pure.

Made from the Fields and VerbSpecs that the parser reads by, so that there is no second definition to keep true. It says
what can be said of the shape; what needs the whole file (names that exist, circles, variables that are set) is the
parser's alone. A value that is not a plain text may also be a text with `${...}` in it, checked once it is put in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cc.engine.playbook import VERSION
from cc.engine.spec import ANY, CHANGED_WHEN, RETRY, RUNG, SCALARS, STEP, WITHOUT, Field, VerbSpec
from cc.engine.variables import NAME
from cc.errors import FAILURE_CODES

Schema = dict[str, Any]
VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}


def schema(verbs: Mapping[str, VerbSpec]) -> Schema:
    """The schema of a playbook that may use these verbs, as JSON's plain data."""
    in_rungs = {**verbs, WITHOUT.name: WITHOUT}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cc playbook",
        "type": "object",
        "required": ["version", "steps"],
        "additionalProperties": False,
        "properties": {
            "version": {"const": VERSION},
            "vars": {
                "type": ["object", "null"],
                "propertyNames": {"pattern": f"^{NAME.pattern}$"},
                "additionalProperties": ANY,
            },
            "steps": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
        },
        "$defs": {
            "step": _step(verbs),
            "rung": _rung(in_rungs),
            "code": {"anyOf": [{"enum": sorted(FAILURE_CODES)}, VARIABLE]},
            "retry": _fields(RETRY),
            "changed_when": {**_object(CHANGED_WHEN), "minProperties": 1},
            **{f"verb.{name}": _fields(spec) for name, spec in in_rungs.items()},
        },
    }


def _step(verbs: Mapping[str, VerbSpec]) -> Schema:
    step = _object(STEP, verb_names=verbs)
    step["properties"].update(
        ladder={"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/rung"}, "prefixItems": [_first_rung()]},
        retry={"$ref": "#/$defs/retry"},
        changed_when={"$ref": "#/$defs/changed_when"},
    )
    step["dependentRequired"] = {"reads": ["ladder"]}
    step["if"] = {"properties": {"reads": {"const": True}}, "required": ["reads"]}
    step["else"] = {"properties": {"ladder": {"prefixItems": [True], "items": {"required": ["when_failed"]}}}}
    return _with_one_of(step, (*verbs, "ladder"))


def _rung(verbs: Mapping[str, VerbSpec]) -> Schema:
    rung = _object(RUNG, verb_names=verbs)
    rung["dependentRequired"] = {"then": ["when_failed"]}
    rung["dependentSchemas"] = {WITHOUT.name: _without("then", "degraded"), "then": _without("degraded")}
    return _with_one_of(rung, verbs)


def _without(*names: str) -> Schema:
    return {"not": {"anyOf": [{"required": [name]} for name in names]}}


def _first_rung() -> Schema:
    """Rung 0 is what the others fall back from."""
    return {"$ref": "#/$defs/rung", **_without("when_failed", "then", "degraded", WITHOUT.name)}


def _with_one_of(shape: Schema, names: Mapping[str, Any] | tuple[str, ...]) -> Schema:
    return {**shape, "oneOf": [{"required": [name]} for name in names]}


def _object(spec: VerbSpec, verb_names: Mapping[str, Any] | tuple[str, ...] = ()) -> Schema:
    """A mapping with the fields of a spec, and with verbs beside them."""
    shape: Schema = {
        "type": "object",
        "description": spec.doc,
        "additionalProperties": False,
        "properties": {
            **{field.name: _field(field) for field in spec.fields},
            **{name: {"$ref": f"#/$defs/verb.{name}"} for name in verb_names},
        },
    }
    required = [field.name for field in spec.fields if field.required]
    if required:
        shape["required"] = required
    if spec.exactly_one:
        shape["allOf"] = [{"oneOf": [{"required": [name]} for name in group]} for group in spec.exactly_one]
    return shape


def _fields(spec: VerbSpec) -> Schema:
    """What may stand behind a verb: its fields, or the one field that a bare value fills; nothing, if it needs none."""
    ways = [_object(spec)]
    if not spec.exactly_one and not any(field.required for field in spec.fields):
        ways.append({"type": "null"})
    if spec.positional is not None:
        ways.append(_field(next(field for field in spec.fields if field.name == spec.positional)))
    return ways[0] if len(ways) == 1 else {"anyOf": ways, "description": spec.doc}


def _field(field: Field) -> Schema:
    shape = _kind(field)
    if field.doc:
        shape = {**shape, "description": field.doc}
    if field.default not in (None, ()):
        shape = {**shape, "default": list(field.default) if isinstance(field.default, tuple) else field.default}
    return shape


def _kind(field: Field) -> Schema:
    if field.choices:
        return {"anyOf": [{"enum": list(field.choices)}, VARIABLE]}
    scalar = SCALARS.get(field.kind)
    if scalar is None:
        return COLLECTIONS[field.kind]
    json = dict(scalar.json)
    json.update({name: getattr(field, name) for name in ("minimum", "maximum") if getattr(field, name) is not None})
    if scalar.pattern is None:
        return json
    return {"anyOf": [json, {"type": "string", "pattern": rf"^(?:{scalar.pattern})$|\$\{{"}]}


CODE: Schema = {"$ref": "#/$defs/code"}
COLLECTIONS: Mapping[str, Schema] = {
    "words": {"anyOf": [{"type": "array", "minItems": 1, "items": ANY}, {**ANY, "minLength": 1}]},
    "strings": {"anyOf": [ANY, {"type": "array", "items": ANY}]},
    "codes": {"anyOf": [CODE, {"type": "array", "minItems": 1, "items": CODE}]},
    "mapping": {"type": "object", "additionalProperties": ANY},
}
