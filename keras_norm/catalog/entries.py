"""What the catalog is made of: `Citation` and `Method`."""

import dataclasses
import importlib
import importlib.util

CHAPTERS = {
    "area": "Area: which entries share statistics",
    "operation": "Operation: what is done to the normalized entries",
    "whitening": "Whitening: decorrelating and whitening",
    "recovery": "Recovery: where scale and offset come from",
    "mixture": "Mixture: several modes, several normalizers",
    "statistics": "Statistics: more robust estimates",
    "domain": "Domain: several domains",
    "weights": "Weights: wrappers that re-parametrize a layer's kernel",
    "constraints": "Constraints, regularizers, Riemannian optimizers",
    "recurrent": "Recurrent networks",
    "optimizers": "Optimizers: normalizing gradients",
    "tools": "Tools: whole models",
    "analysis": "Analysis",
    "generic": "The generic layer and the operations",
}

MASKS = (
    "statistics",
    "passes",
    "refuses",
    "its own mask input",
    "time steps",
    "-",
)

# Short venue -> BibTeX entry type and the venue's full name.
VENUES = {
    "AAAI": ("inproceedings", "AAAI Conference on Artificial Intelligence"),
    "AISTATS": (
        "inproceedings",
        "International Conference on Artificial Intelligence and Statistics",
    ),
    "CVPR": (
        "inproceedings",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    ),
    "CVWW": ("inproceedings", "Computer Vision Winter Workshop"),
    "ECCV": ("inproceedings", "European Conference on Computer Vision"),
    "ICANN": (
        "inproceedings",
        "International Conference on Artificial Neural Networks",
    ),
    "ICASSP": (
        "inproceedings",
        "IEEE International Conference on Acoustics, Speech and Signal "
        "Processing",
    ),
    "ICCV": (
        "inproceedings",
        "IEEE/CVF International Conference on Computer Vision",
    ),
    "ICLR": (
        "inproceedings",
        "International Conference on Learning Representations",
    ),
    "ICML": ("inproceedings", "International Conference on Machine Learning"),
    "IJCAI": (
        "inproceedings",
        "International Joint Conference on Artificial Intelligence",
    ),
    "Interspeech": ("inproceedings", "Interspeech"),
    "NeurIPS": (
        "inproceedings",
        "Advances in Neural Information Processing Systems",
    ),
    "Tricks of the Trade": (
        "incollection",
        "Neural Networks: Tricks of the Trade",
    ),
    "Nature Reviews Neuroscience": ("article", "Nature Reviews Neuroscience"),
    "Numerical Algorithms": ("article", "Numerical Algorithms"),
    "The American Statistician": ("article", "The American Statistician"),
    "TNNLS": (
        "article",
        "IEEE Transactions on Neural Networks and Learning Systems",
    ),
    "TPAMI": (
        "article",
        "IEEE Transactions on Pattern Analysis and Machine Intelligence",
    ),
    "Visual Neuroscience": ("article", "Visual Neuroscience"),
    "arXiv": ("misc", "arXiv preprint"),
}


@dataclasses.dataclass(frozen=True)
class Citation:
    """One publication.

    Args:
        key: BibTeX key, unique in the catalog.
        authors: As in BibTeX, `"Last, First and Last, First"`.
        title: The title, capitals kept.
        venue: One of `VENUES`; `"arXiv"` where there is no other.
        year: Year at that venue.
        arxiv: arXiv number, `""` where there is none.
        doi: Digital object identifier, `""` where it is not known for sure.

    Example:
    >>> Citation("k", "Wu, Yuxin and He, Kaiming", "T", "ECCV", 2018).short_form
    'Wu & He 2018'
    """

    key: str
    authors: str
    title: str
    venue: str
    year: int
    arxiv: str = ""
    doi: str = ""

    @property
    def short_form(self) -> str:
        """One or two surnames, or the first and "et al.", and the year."""
        surnames = [name.split(",")[0] for name in self.authors.split(" and ")]
        if len(surnames) > 2:
            return f"{surnames[0]} et al. {self.year}"
        return f"{' & '.join(surnames)} {self.year}"

    @property
    def url(self) -> str:
        """The arXiv page, else that of the DOI, else `""`."""
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else ""

    def bibtex(self) -> str:
        """The publication as a BibTeX entry."""
        kind, full_name = VENUES[self.venue]
        where = {
            "article": "journal",
            "inproceedings": "booktitle",
            "incollection": "booktitle",
            "misc": "howpublished",
        }[kind]
        fields = {
            "author": self.authors,
            # The inner braces keep BibTeX styles from lowering the capitals.
            "title": f"{{{self.title}}}",
            where: full_name,
            "year": str(self.year),
        }
        if self.arxiv:
            fields["eprint"] = self.arxiv
            fields["archiveprefix"] = "arXiv"
        if self.doi:
            fields["doi"] = self.doi
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of the catalog.

    The words for area, operation, statistics and recovery are those of the
    survey's decomposition; `"-"` where the method is no layer over activations.

    Args:
        number: Row number, from 1.
        name: The method, in full words.
        public_names: Where it lives, e.g. `"layers.BatchNormalization"`.
        acronyms: The literature's; several methods may share one ("SN").
        aliases: Other names; each belongs to this method alone.
        chapter: A key of `CHAPTERS`.
        section: Sections of the survey; `"article"` where only the article
            has the method; `"beyond the survey"` where neither has it.
        citations: Publications, the method's own first.
        area: Which entries share statistics (NAP).
        operation: What is done to them (NOP).
        statistics: Where the numbers come from; "each input" means from the
            input itself, in training and inference alike.
        recovery: Where scale and offset come from (NRR).
        mask: One of `MASKS`: masked entries take no part in the statistics;
            statistics do not mix positions and the mask passes; a clear error;
            a mask as an input of its own; a mask of time steps; `"-"`.
        golden: Names of the vectors that the authors' programs computed.
        note: What the row covers besides its name.
        origin: Where a method without citation comes from.
        available_since: Version that completed a row without public names.
    """

    number: int
    name: str
    public_names: tuple[str, ...]
    chapter: str
    section: str
    acronyms: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    citations: tuple[Citation, ...] = ()
    area: str = "-"
    operation: str = "-"
    statistics: str = "-"
    recovery: str = "-"
    mask: str = "-"
    golden: tuple[str, ...] = ()
    note: str = ""
    origin: str = ""
    available_since: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """The public names that `keras_norm` does not have (yet)."""
        return tuple(n for n in self.public_names if not _exists(n))

    @property
    def status(self) -> str:
        """`"available"` if `keras_norm` has all public names, else `"planned"`.

        Looked up at every call, so that the catalog cannot promise what is
        not there. A row without public names has nothing to look up: it is
        planned until `available_since` says otherwise.
        """
        if not self.public_names:
            return "available" if self.available_since else "planned"
        return "planned" if self.missing else "available"


def _exists(public_name: str) -> bool:
    namespace, _, name = public_name.rpartition(".")
    module_name = f"keras_norm.{namespace}"
    # Asked first: an import error inside an existing module must surface,
    # not turn into "planned".
    if importlib.util.find_spec(module_name) is None:
        return False
    # Callable: `tools.fold` may also be a module of that name, which would
    # not be the function.
    return callable(getattr(importlib.import_module(module_name), name, None))
