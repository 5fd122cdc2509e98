"""Makes `fields.json` from the Go sources of k8s.io/api: which JSON fields every API type has, and how Go writes them.

    python -m engine.providers.kubernetes.generate_fields API MACHINERY

with the folders of the Go modules k8s.io/api and k8s.io/apimachinery (`go list -m -f '{{.Dir}}' k8s.io/api`).

OpenAPI cannot serve instead: it does not tell a pointer from a value, and that decides whether `hostNetwork: false` is kept or
dropped when an object passes through the typed structs, as the API server and Pulumi's provider let it pass.
The price: a new Kubernetes minor version means running this again. Unknown kinds are left as they are, so an old table is harmless.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

STRUCT = re.compile(r"^type (\w+) struct \{$")
ALIAS = re.compile(r"^type (\w+) (=? ?[\w.\[\]*]+)$")
FIELD = re.compile(r'^\t(?:(\w+)\s+)?([\w.\[\]*]+)\s+`json:"([^"]*)"')
IMPORT = re.compile(r'^\t(?:(\w+) )?"(k8s\.io/[\w./-]+)"$')
SCALARS = {
    "string": "s", "bool": "b", "int32": "i", "int64": "i", "int": "i", "int16": "i", "uint8": "i", "uint32": "i", "uint64": "i",
    "float32": "f", "float64": "f", "byte": "y",
}  # fmt: skip
SPECIAL = {
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "q",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "p",
    "k8s.io/apimachinery/pkg/apis/meta/v1.Time": "t",
    "k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime": "t",
    "k8s.io/apimachinery/pkg/apis/meta/v1.Duration": "j",
    "k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1": "j",
    "k8s.io/apimachinery/pkg/apis/meta/v1.Verbs": "[]s",
    "k8s.io/apimachinery/pkg/runtime.RawExtension": "j",
    "k8s.io/apimachinery/pkg/types.UID": "s",
}
"""Go types with a JSON form of their own. `j`: anything, left alone."""


class Source:
    def __init__(self, modules: dict[str, Path]):
        self.modules = modules
        self.structs: dict[str, list[tuple[str, str]]] = {}
        self.aliases: dict[str, str] = {}
        self.scopes: dict[str, bool] = {}
        self.loaded: set[str] = set()

    def load(self, package: str) -> None:
        if package in self.loaded:
            return
        self.loaded.add(package)
        for module, folder in self.modules.items():
            if package == module or package.startswith(module + "/"):
                for path in sorted((folder / package[len(module) + 1 :]).glob("*.go")):
                    if not path.name.startswith("zz_") and not path.name.endswith(("_test.go", ".pb.go")):
                        self._file(package, path.read_text())

    def _file(self, package: str, text: str) -> None:
        imports = {}
        struct = ""
        cluster_scoped = False
        for line in text.splitlines():
            if match := IMPORT.match(line):
                imports[match[1] or match[2].rsplit("/", 1)[-1]] = match[2]
            elif line.startswith("// +genclient:nonNamespaced"):
                cluster_scoped = True
            elif match := STRUCT.match(line):
                struct = f"{package}.{match[1]}"
                self.structs[struct] = []
                self.scopes[struct] = not cluster_scoped
                cluster_scoped = False
            elif match := ALIAS.match(line):
                self.aliases[f"{package}.{match[1]}"] = self._resolve(match[2].lstrip("= "), package, imports)
                cluster_scoped = False
            elif struct and (match := FIELD.match(line)):
                self.structs[struct].append((match[3], self._resolve(match[2], package, imports)))
            elif line == "}":
                struct = ""

    def _resolve(self, go_type: str, package: str, imports: dict[str, str]) -> str:
        """The Go type in the table's notation: `*` pointer, `[]` list, `{}` map, a letter, or a type's full name."""
        if go_type == "[]byte":
            return "y"
        for prefix, code in (("*", "*"), ("[]", "[]"), ("map[string]", "{}")):
            if go_type.startswith(prefix):
                return code + self._resolve(go_type[len(prefix) :], package, imports)
        if match := re.match(r"map\[[\w.]+\]", go_type):
            return "{}" + self._resolve(go_type[match.end() :], package, imports)
        if go_type in SCALARS:
            return SCALARS[go_type]
        head, dot, tail = go_type.partition(".")
        full = f"{imports.get(head, head)}.{tail}" if dot else f"{package}.{go_type}"
        return SPECIAL.get(full, full)

    def final(self, code: str) -> str:
        """The notation with aliases followed, so that only structs are named."""
        for prefix in ("*", "[]", "{}"):
            if code.startswith(prefix):
                return prefix + self.final(code[len(prefix) :])
        if len(code) == 1:
            return code
        self.load(code.rsplit(".", 1)[0])
        if code in SPECIAL:
            return SPECIAL[code]
        if code in self.aliases:
            return self.final(self.aliases[code])
        return code if code in self.structs else "j"

    def fields(self, struct: str) -> dict[str, str]:
        result = {}
        for tag, code in self.structs[struct]:
            name, _, options = tag.partition(",")
            resolved = self.final(code)
            if "inline" in options or not name:
                result.update(self.fields(resolved.lstrip("*")) if len(resolved) > 1 else {})
            elif name != "-":
                result[name] = ("~" if "omitempty" in options else "") + resolved
        return result


def packages(api: Path) -> list[tuple[str, str, str]]:
    """(Go package, group, version) of every API group version."""
    found = []
    for register in sorted(api.glob("*/*/register.go")):
        group = re.search(r'GroupName\s*=\s*"([^"]*)"', register.read_text())
        version = register.parent.name
        if group and re.fullmatch(r"v\d+((alpha|beta)\d+)?", version):
            found.append((f"k8s.io/api/{register.parent.parent.name}/{version}", group[1], version))
    return found


def shorten(code: str) -> str:
    return code.replace("k8s.io/apimachinery/pkg/apis/", "").replace("k8s.io/api/", "")


def main(api: str, machinery: str) -> None:
    source = Source({"k8s.io/api": Path(api), "k8s.io/apimachinery": Path(machinery)})
    source.load("k8s.io/apimachinery/pkg/apis/meta/v1")
    kinds: dict[str, str] = {}
    pending = []
    for package, group, version in packages(Path(api)):
        source.load(package)
        for struct in sorted(s for s in source.structs if s.startswith(package + ".")):
            fields = source.fields(struct)
            kind = struct.rsplit(".", 1)[-1]
            if {"metadata", "kind", "apiVersion"} <= fields.keys() and not kind.endswith("List"):
                scope = "n" if source.scopes[struct] else "c"
                kinds[f"{group}/{version}/{kind}" if group else f"{version}/{kind}"] = scope + " " + shorten(struct)
                pending.append(struct)
    types: dict[str, dict[str, str]] = {}
    while pending:
        struct = pending.pop()
        if shorten(struct) in types:
            continue
        fields = source.fields(struct)
        types[shorten(struct)] = {k: shorten(v) for k, v in sorted(fields.items())}
        pending += [bare for v in fields.values() if len(bare := v.lstrip("~*[]{}")) > 1]
    target = Path(__file__).with_name("fields.json")
    target.write_text(json.dumps({"kinds": kinds, "types": dict(sorted(types.items()))}, separators=(",", ":"), sort_keys=True) + "\n")
    sys.stdout.write(f"{len(kinds)} kinds, {len(types)} types, {target.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
