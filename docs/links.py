"""Names become links to where they are explained, in prose, signatures and code: ours to a page of the site, others by `names.txt`."""
import ast
import re
from functools import cache
from pathlib import Path

from c2m_blocks._modidx import d as index
from docutils import nodes
from fastcore.nbio import read_nb

DOCS = Path(__file__).parent
NBS = DOCS.parent / "nbs"
OWN = {
    full.removeprefix(f"{module}."): full
    for module, names in index["syms"].items() for full in names
    if not re.search(r"\._", full)
}  # fmt: skip
OTHERS = dict(line.split() for line in (DOCS / "names.txt").read_text().splitlines())
# `nn.Module` and `grid_sample` are known by the ends of their names; one plain word (`pad`, `stack`, our `pairs`) may mean anything
ENDS = {full[i:]: full for full in OTHERS for i in (0, *(dot.end() for dot in re.finditer(r"\.", full)))} | OWN
NAMES = {end: full for end, full in ENDS.items() if re.search("[A-Z_.]", end)}


def linked(text: str, plain: dict[str, str] = {}) -> str:  # noqa: B006, it is only read
    "Known names in backticks become links, except in code blocks and where they are links already; `plain` are words known just here."
    known = {name: full for name, full in plain.items() if full in OWN.values()} | NAMES

    def link(name):
        return f"{{py:obj}}`{name[1]} <{known[name[1]]}>`" if name[1] in known else name[0]

    blocks = re.split(r"(^ *```.*?^ *```|\[[^\]\n]*\]\([^)\n]*\))", text, flags=re.M | re.S)
    blocks[::2] = [re.sub(r"(?<![`\w}])`([\w.]+)(?:\(\))?`(?!`)", link, block) for block in blocks[::2]]
    return "".join(blocks)


def exported_to(nb) -> str | None:
    "The module that is made from a notebook."
    found = re.search(r"^#\|\s*default_exp (\S+)", code(nb), re.M)
    return found and f"c2m_blocks.{found[1]}"


def public_names(module: str) -> list[str]:
    return [name for name, full in OWN.items() if full == f"{module}.{name}" and "." not in name]


def code(nb) -> str:
    return "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")


@cache
def meanings(notebook: Path) -> dict[str, str]:
    "What a notebook imports or exports, hidden or not, and its full name; without what is the name of something else anywhere in it."
    nb = read_nb(notebook)
    known = {name: OWN[name] for name in public_names(exported_to(nb))}
    assigned = set()
    for node in ast.walk(ast.parse(code(nb))):
        if isinstance(node, ast.Import):
            known |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            known |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.arg):
            assigned.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assigned.add(node.id)
    return {name: full for name, full in known.items() if name not in assigned}


CODE = re.compile(r'<div class="highlight-(?:ipython3|python) .*?</pre>', re.S)
DOT = r'<span class="o">\.</span>'
CHAIN = re.compile(rf'(?<!{DOT})<span class="n">\w+</span>(?:{DOT}<span class="n">\w+</span>)*(?!<span class="o">=</span>)')


def link_page(app, pagename, templatename, context, doctree):
    "Names in the code of a page become links, and each picture leads to itself in its full size."
    notebook = NBS / f"{'index' if pagename == 'start' else pagename}.ipynb"
    if notebook.exists():
        known, objects = meanings(notebook), app.env.get_domain("py").objects

        def link(chain):
            first, *rest = re.findall(r">(\w+)<", chain[0])
            parts = [known.get(first, ""), *rest]
            for full in (".".join(parts[:n]) for n in range(len(parts), 0, -1)):
                if full.startswith("c2m_blocks."):
                    full = OWN.get(re.sub(r"^c2m_blocks\.([a-z_]+\.)?", "", full), full)
                if place := objects.get(full):
                    url = f"{app.builder.get_relative_uri(pagename, place.docname)}#{place.node_id}"
                if place or (url := OTHERS.get(full)):
                    return f'<a href="{url}" title="{full}">{chain[0]}</a>'
            return chain[0]

        context["body"] = CODE.sub(lambda block: CHAIN.sub(link, block[0]), context["body"])
        context["body"] = re.sub(r'<img [^>]*src="([^"]+)"[^>]*>', r'<a href="\1">\g<0></a>', context["body"])


def known_elsewhere(app, env, node, shown):
    "A name of another library that Sphinx asks for, which may be that of its file: `torch.nn.modules.module.Module`."
    target = node["reftarget"]
    ends = lambda full: (full.split(".")[0], full.split(".")[-1])
    full = target if target in OTHERS else next((full for full in OTHERS if ends(full) == ends(target)), NAMES.get(ends(target)[1]))
    if full in OTHERS:
        return nodes.reference("", "", shown, internal=False, refuri=OTHERS[full], reftitle=full)


def setup(app):
    app.connect("missing-reference", known_elsewhere)
    app.connect("html-page-context", link_page)
    return {"parallel_read_safe": True}
