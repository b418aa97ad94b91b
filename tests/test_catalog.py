"""The catalog: one row per method, names that find it, truthful status."""

import ast
import dataclasses
import doctest
import importlib
import json
import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import keras_norm.catalog
from keras_norm import catalog

pytestmark = pytest.mark.once

TESTS = pathlib.Path(__file__).parent
PACKAGE = pathlib.Path(catalog.__file__).parent


def plain(name):
    return re.sub(r"[\s_-]+", "", name).lower()


def row(method):
    return f"{method.number}"


def public_names():
    return [name for m in catalog.METHODS for name in m.public_names]


def citations():
    return {c.key: c for m in catalog.METHODS for c in m.citations}


@pytest.fixture
def vectors():
    """Name and method of every golden vector."""
    manifest = TESTS / "golden" / "data" / "manifest.jsonl"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    return {v["name"]: v["method"] for v in map(json.loads, lines)}


def message(function, *args):
    with pytest.raises(ValueError) as caught:
        function(*args)
    return str(caught.value)


class TestRows:
    def test_are_numbered_from_1_to_112(self):
        numbers = [method.number for method in catalog.METHODS]
        assert numbers == list(range(1, 113))

    def test_chapters_come_one_after_the_other(self):
        seen = list(dict.fromkeys(m.chapter for m in catalog.METHODS))
        assert seen == list(catalog.CHAPTERS)
        order = [seen.index(method.chapter) for method in catalog.METHODS]
        assert order == sorted(order)

    def test_have_164_distinct_public_names(self):
        names = public_names()
        assert len(names) == len(set(names)) == 164

    def test_names_are_distinct_within_every_namespace_and_across(self):
        # `find` takes names without their namespace.
        short = [name.rpartition(".")[2] for name in public_names()]
        assert len(short) == len(set(map(plain, short)))

    def test_only_the_argument_of_other_layers_has_no_name(self):
        nameless = [m.number for m in catalog.METHODS if not m.public_names]
        assert nameless == [68]

    @pytest.mark.parametrize("method", catalog.METHODS, ids=row)
    def test_uses_the_vocabulary(self, method):
        assert method.mask in catalog.MASKS
        assert method.section in ("article", "beyond the survey") or (
            re.fullmatch(r"\d(\.\d)*(, \d(\.\d)*)*", method.section)
        )
        for name in method.public_names:
            assert re.fullmatch(
                r"(layers|constraints|regularizers|optimizers|callbacks|ops"
                r"|tools|analysis)\.\w+",
                name,
            )

    @pytest.mark.parametrize("method", catalog.METHODS, ids=row)
    def test_is_decomposed_wholly_or_not_at_all(self, method):
        parts = (
            method.area,
            method.operation,
            method.statistics,
            method.recovery,
        )
        assert all(parts)
        assert ("-" in parts) == (set(parts) == {"-"})
        if method.mask != "-":
            assert "-" not in parts

    @pytest.mark.parametrize("method", catalog.METHODS, ids=row)
    def test_says_where_it_comes_from(self, method):
        assert method.citations or method.origin

    @pytest.mark.parametrize("method", catalog.METHODS, ids=row)
    def test_fits_into_a_table(self, method):
        for text in dataclasses.asdict(method).values():
            assert "|" not in str(text)
            assert "\n" not in str(text)

    def test_is_immutable(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            catalog.METHODS[0].number = 2


class TestFind:
    @pytest.mark.parametrize("method", catalog.METHODS, ids=row)
    def test_by_every_name_that_is_its_own(self, method):
        for name in (method.name, *method.public_names, *method.aliases):
            assert catalog.find(name) is method
        for name in method.public_names:
            assert catalog.find(name.rpartition(".")[2]) is method
            assert catalog.find(f"keras_norm.{name}") is method

    @pytest.mark.parametrize("method", catalog.METHODS, ids=row)
    def test_by_acronym_or_names_who_shares_it(self, method):
        for acronym in method.acronyms:
            owners = [
                other
                for other in catalog.METHODS
                if plain(acronym) in map(plain, other.acronyms)
            ]
            if len(owners) == 1:
                assert catalog.find(acronym) is method
                continue
            text = message(catalog.find, acronym)
            for owner in owners:
                assert f"{owner.number} {owner.name}" in text

    @pytest.mark.parametrize(
        "name",
        [
            "batch_normalization",
            "BATCH NORMALIZATION",
            "batch-normalization",
            "layers.batch normalization",
            "kn.layers.BatchNormalization",
            "BN",
            "bn",
            " batch norm ",
        ],
    )
    def test_ignores_case_spaces_underscores_hyphens(self, name):
        assert catalog.find(name).number == 1

    @pytest.mark.parametrize(
        "misspelt, meant",
        [
            ("BatchNormalisation", "BatchNormalization"),
            ("GroupNormalizaton", "GroupNormalization"),
            ("layers.LayerNorm1zation", "LayerNormalization"),
            ("spectral normalisation", "SpectralNormalization"),
        ],
    )
    def test_suggests_the_nearest_names(self, misspelt, meant):
        text = message(catalog.find, misspelt)
        assert text.startswith("`name` must be a public name, an acronym")
        assert f"Received: name={misspelt!r}. Did you mean " in text
        assert meant in text.partition("Did you mean")[2]

    def test_says_where_to_look_if_nothing_is_near(self):
        assert message(catalog.find, "qqqqqq") == (
            "`name` must be a public name, an acronym, an alias or the name "
            "of a method in the catalog. Received: name='qqqqqq'. "
            "`keras_norm.catalog.METHODS` lists them all."
        )

    @pytest.mark.parametrize("name", ["", "layers.", None])
    def test_rejects_what_is_no_name(self, name):
        assert f"Received: name={name!r}." in message(catalog.find, name)

    def test_names_the_candidates_of_a_shared_acronym(self):
        assert message(catalog.find, "SN") == (
            "`name` must stand for one method. Received: name='SN'. It is "
            "shared by 48 switchable normalization "
            "(layers.SwitchableNormalization) and 81 spectral normalization "
            "(layers.SpectralNormalization). Use a name that is not shared."
        )


class TestStatus:
    @pytest.mark.parametrize("method", catalog.METHODS, ids=row)
    def test_is_what_the_package_has(self, method):
        present = []
        for name in method.public_names:
            namespace, _, attribute = name.rpartition(".")
            try:
                module = importlib.import_module(f"keras_norm.{namespace}")
            except ModuleNotFoundError:
                module = None
            present.append(callable(getattr(module, attribute, None)))
        if method.public_names:
            expected = "available" if all(present) else "planned"
        else:
            expected = "available" if method.available_since else "planned"
        assert method.status == expected
        assert len(method.missing) == present.count(False)

    @pytest.mark.parametrize(
        "names, missing",
        [
            (("errors.received",), ()),
            (("errors.received", "errors.absent"), ("errors.absent",)),
            (("nowhere.Absent",), ("nowhere.Absent",)),
            # A module of that name is not the function of that name.
            (("catalog.lookup",), ("catalog.lookup",)),
        ],
    )
    def test_needs_all_names(self, names, missing):
        method = dataclasses.replace(catalog.METHODS[0], public_names=names)
        assert method.missing == missing
        assert method.status == ("planned" if missing else "available")

    def test_of_a_row_without_names_is_set_by_hand(self):
        method = dataclasses.replace(catalog.METHODS[67], available_since="")
        assert method.status == "planned"
        method = dataclasses.replace(method, available_since="1.0")
        assert method.status == "available"

    def test_every_exported_layer_is_in_the_catalog(self):
        layers = importlib.import_module("keras_norm.layers")
        known = {n.partition(".")[2] for n in public_names() if "layers." in n}
        assert set(layers.__all__) - known == set()


class TestBibliography:
    def test_keys_are_unique(self):
        keys = re.findall(r"^@\w+\{(.+),$", catalog.bibliography(), re.M)
        assert keys == sorted(set(keys))
        assert len(keys) == len(citations())
        contents = {
            dataclasses.replace(citation, key="")
            for citation in citations().values()
        }
        assert len(contents) == len(keys)

    def test_of_some_methods(self):
        text = catalog.bibliography([catalog.find("GN"), catalog.find("LN")])
        assert re.findall(r"\{(\w+),$", text, re.M) == [
            "ba2016layer",
            "wu2018group",
        ]

    def test_of_no_methods_is_empty(self):
        assert catalog.bibliography([]) == ""

    @pytest.mark.parametrize("key", sorted(citations()))
    def test_entry_parses(self, key):
        citation = citations()[key]
        text = citation.bibtex()
        depth = 0
        for character in text:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
        head, *lines, last = text.splitlines()
        kind = re.fullmatch(r"@(\w+)\{(\w+),", head)
        assert kind and kind.group(2) == key
        assert last == "}"
        fields = {}
        for line in lines:
            field = re.fullmatch(r"  (\w+) = \{(.+)\},", line)
            assert field
            assert field.group(1) not in fields
            fields[field.group(1)] = field.group(2)
        where = {
            "article": "journal",
            "inproceedings": "booktitle",
            "incollection": "booktitle",
            "misc": "eprint",
        }[kind.group(1)]
        assert {"author", "title", "year", where} <= set(fields)
        assert 1980 <= int(fields["year"]) <= 2030
        assert all("," in name for name in fields["author"].split(" and "))

    @pytest.mark.parametrize("key", sorted(citations()))
    def test_entry_is_consistent(self, key):
        citation = citations()[key]
        # lezcano2019cheap: (the start of) the surname, year, a word.
        name, year, word = re.fullmatch(r"([a-z]+)(\d{4})(\w+)", key).groups()
        surname = citation.authors.partition(",")[0].lower()
        if surname.isascii():
            assert re.sub(r"[^a-z]", "", surname).startswith(name)
        assert int(year) == citation.year
        assert word in re.sub(r"[^a-z0-9]", "", citation.title.lower())
        if citation.arxiv:
            assert re.fullmatch(r"\d{4}\.\d{4,5}", citation.arxiv)
            if citation.venue == "arXiv":
                assert 2000 + int(citation.arxiv[:2]) == citation.year

    def test_short_forms(self):
        names = ["Ioffe, Sergey", "Wu, Yuxin", "He, Kaiming"]
        forms = []
        for count in (1, 2, 3):
            authors = " and ".join(names[:count])
            forms.append(
                catalog.Citation("k", authors, "T", "ICML", 2015).short_form
            )
        assert forms == ["Ioffe 2015", "Ioffe & Wu 2015", "Ioffe et al. 2015"]


class TestTable:
    def test_readme_shows_it(self):
        readme = (TESTS.parent / "README.md").read_text(encoding="utf-8")
        _, _, rest = readme.partition("<!-- methods:begin -->")
        shown, end, _ = rest.partition("<!-- methods:end -->")
        assert end, "README.md has no markers for the method table"
        assert shown.strip() == catalog.markdown_table(), (
            "README.md is out of date: `python -m keras_norm.catalog` prints "
            "its table"
        )

    def test_has_one_line_per_method_with_eight_cells(self):
        lines = catalog.markdown_table().splitlines()
        rows = [line for line in lines if re.match(r"\| \d", line)]
        assert len(rows) == 112
        for line in lines:
            if line.startswith("|"):
                assert line.count(" | ") == 7

    def test_of_one_status(self):
        both = 0
        for status in ("available", "planned"):
            text = catalog.markdown_table(status)
            rows = re.findall(r"^\| \d+ .*\| (\w+) \|$", text, re.M)
            assert set(rows) <= {status}
            both += len(rows)
        assert both == 112

    def test_rejects_another_status(self):
        assert message(catalog.markdown_table, "done") == (
            "`status` must be one of ['available', 'planned']. Received: "
            "status='done'."
        )

    def test_module_prints_it(self):
        printed = subprocess.run(
            [sys.executable, "-m", "keras_norm.catalog"],
            capture_output=True,
            check=True,
            cwd=TESTS.parent,
            encoding="utf-8",
            env={**os.environ, "PYTHONUTF8": "1"},
        ).stdout
        assert printed == catalog.markdown_table() + "\n"


class TestGolden:
    def test_every_vector_belongs_to_a_public_name(self, vectors):
        known = {name.removeprefix("layers.") for name in public_names()}
        assert set(vectors.values()) <= known

    def test_every_vector_named_by_a_row_is_one_of_its_methods(self, vectors):
        for method in catalog.METHODS:
            for name in method.golden:
                assert catalog.find(vectors[name]) is method

    def test_no_vector_is_named_twice(self):
        names = [name for m in catalog.METHODS for name in m.golden]
        assert len(names) == len(set(names))


class TestModules:
    def test_import_nothing_but_the_standard_library_and_errors(self):
        for path in PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                imported = []
                if isinstance(node, ast.Import):
                    imported = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    imported = [node.module or ""]
                for name in imported:
                    assert name.partition(".")[0] in (
                        "keras_norm",
                        *sys.stdlib_module_names,
                    )

    def test_import_without_keras(self):
        # The package itself imports Keras: a bare module stands in for it.
        program = (
            "import sys, types\n"
            "sys.modules['keras'] = None\n"
            "package = types.ModuleType('keras_norm')\n"
            f"package.__path__ = [{str(PACKAGE.parent)!r}]\n"
            "sys.modules['keras_norm'] = package\n"
            "import keras_norm.catalog\n"
            "print(keras_norm.catalog.find('BN').number)\n"
            "assert keras_norm.catalog.bibliography()\n"
        )
        printed = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            encoding="utf-8",
        ).stdout
        assert printed == "1\n"

    def test_examples_run(self):
        examples = 0
        for found in pkgutil.walk_packages(
            keras_norm.catalog.__path__, "keras_norm.catalog."
        ):
            module = importlib.import_module(found.name)
            result = doctest.testmod(module)
            assert result.failed == 0
            examples += result.attempted
        assert examples >= 4
        assert doctest.testmod(keras_norm.catalog).failed == 0
