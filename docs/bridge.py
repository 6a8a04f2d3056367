"""From notebooks to pages: nbdev decides what a reader sees of a notebook, Sphinx gets the rest as MyST Markdown.

Nothing is run. Pictures are the outputs saved in the notebooks, signatures come from the installed package."""
import inspect
import re
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import FunctionType

from fastcore.docments import docments
from fastcore.nbio import mk_cell, read_nb
from links import NBS, OWN, exported_to, linked, meanings, public_names
from nbdev import processors as nbdev
from sphinx.util.inspect import stringify_signature

ROOT = Path(__file__).parents[1]
TEXTS = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE")  # beside `nbs/`, but among the pages
OPEN = """

{{.notebook}}
Open this notebook: {{download}}`nbs/{name} </notebooks/{name}>`
"""
METHODS = {FunctionType: "method", classmethod: "classmethod", staticmethod: "staticmethod", property: "property"}


class Shown(nbdev.FilterDefaults):
    "nbdev's choice of what is shown, less what is meant for Quarto or needs the notebook to be run."

    def base_procs(self):
        return [nbdev.add_show_docs, nbdev.strip_ansi, nbdev.hide_line, nbdev.filter_stream_, nbdev.rm_header_dash,
                nbdev.rm_export, nbdev.clean_magics, nbdev.hide_]  # fmt: skip


def shown(path: Path):
    "The notebook without what nbdev hides; code cells keep no directives, but tags that MyST-NB understands."
    nb = read_nb(path)
    Shown()(nb)
    for cell in nb.cells:
        if cell.cell_type == "code":
            options = cell.directives
            cell.remove_directives()
            wanted = {"remove-input": options.get("echo") == "false", "remove-output": options.get("output") == "false",
                      "hide-input": options.get("code-fold") == "true"}  # fmt: skip
            cell.metadata["tags"] = [tag for tag, on in wanted.items() if on]
            if "fig-cap" in options:
                cell.metadata["mystnb"] = {"figure": {"caption": options["fig-cap"].strip("\"'")}}
    return nb


def page(name: Path):
    "The notebook of this name in `nbs/` as a page of the site."
    nb, module = shown(NBS / name), exported_to(read_nb(NBS / name))
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            cell.source = re.sub(rf"\.\./({'|'.join(TEXTS)})\)", r"\1)", linked(cell.source, meanings(NBS / name)))
            cell.source = cell.source.replace("../benchmarks/README.md)", "benchmarks.md)")
        elif call := re.match(r"show_doc\(([\w.]+)", cell.source):
            nb.cells[i] = mk_cell(described(call[1], module), "markdown")
    title, _, text = nb.cells[0].source.partition("\n")
    nb.cells[0].source = title + OPEN.format(name=name) + text
    return nb


def described(name: str, module: str) -> str:
    "Signature, docstring, parameters and source of a public name, and the methods of a class."
    thing = attrgetter(name)(import_module(module))
    kind = "class" if inspect.isclass(thing) else "function"
    public = [attr for attr in (vars(thing) if kind == "class" else ()) if attr[0] != "_"]
    methods = [member(thing, attr, name, module) for attr in public if type(vars(thing)[attr]) in METHODS]
    source = f":::{{dropdown}} Source\n```python\n{inspect.getsource(thing).rstrip()}\n```\n:::"
    return directive(":::::", kind, name, module, thing, *methods, source)


def member(owner: type, attr: str, name: str, module: str) -> str:
    value = vars(owner)[attr]
    function = value.fget if isinstance(value, property) else getattr(owner, attr)
    return directive("::::", METHODS[type(value)], f"{name}.{attr}", module, function)


def directive(fence: str, kind: str, name: str, module: str, thing, *more: str) -> str:
    about, plain = docments(thing, full=True), {name: OWN[name] for name in public_names(module)}
    fields = [(f"param {key}", value["docment"]) for key, value in about.items() if key not in ("self", "return")]
    fields += [("return", about["return"]["docment"])] if "return" in about and not inspect.isclass(thing) else []
    listed = "\n".join(f":{key}: {linked(' '.join(text.split()), plain)}" for key, text in fields if text)
    head = f"{fence}{{py:{kind}}} {name}{'' if kind == 'property' else signature(thing)}\n:module: {module}"
    body = [linked(inspect.cleandoc(thing.__doc__ or ""), plain), listed, *more]
    return "\n\n".join([head, *filter(None, body), fence])


def signature(thing) -> str:
    made_by_init = inspect.isclass(thing) and inspect.isfunction(thing.__init__)
    if inspect.isclass(thing) and issubclass(thing, Exception) and not made_by_init:
        return ""  # an exception is caught, not made
    if getattr(thing, "_is_protocol", False):
        return ""  # a protocol is met, not made
    sign = inspect.signature(thing.__init__ if made_by_init else thing)
    sign = sign.replace(parameters=[readable(value) for name, value in sign.parameters.items() if name != "self"])
    returns = not inspect.isclass(thing)  # a dataclass says that its `__init__` returns None
    return stringify_signature(sign, show_return_annotation=returns, unqualified_typehints=True)


class Name:
    def __init__(self, function):
        self.function = function

    def __repr__(self):
        return self.function.__name__ if self.function.__name__.isidentifier() else "..."


def readable(value: inspect.Parameter) -> inspect.Parameter:
    "A default that is a function stands in the signature as in the code, by its name, or Sphinx could not read the signature."
    return value.replace(default=Name(value.default)) if inspect.isroutine(value.default) else value


def api() -> str:
    "A page of all public names by notebook, each with the first sentence of its docstring."
    text = ["# API", "Every public name, and where it is explained. Methods and attributes are in the {ref}`general index <genindex>`."]
    for path in sorted(NBS.glob("[0-9]*.ipynb")):
        nb = read_nb(path)
        if module := exported_to(nb):
            text += [f"## [{module.removeprefix('c2m_blocks.')}]({path.name})", "\n".join(map(listed, public_names(module)))]
    return "\n\n".join(text) + "\n"


def listed(name: str) -> str:
    thing = attrgetter(name)(import_module(OWN[name].removesuffix(f".{name}")))
    if not (text := inspect.getdoc(thing)):
        raise SystemExit(f"{OWN[name]} is public and has no docstring: write one, or begin its name with an underscore.")
    first = " ".join(text.partition("\n\n")[0].split())
    return f"- {{py:obj}}`{name} <{OWN[name]}>`: {re.split(r'(?<=[.!?]) (?=[A-Z`])', first)[0]}"
