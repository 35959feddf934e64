"""Which file names mean the same case: what stands before and after the case's own name, found from all names at once.

    images  case1_flair  case1_t1  case2_flair  case2_t1        {case}_flair, {case}_t1
    labels  case1_seg              case2_seg                    {case}_seg

One rule serves the whole set: the one that gives most cases and, among those, leaves most of the names to the case. A
name is cut between words, before and after numbers (never within one), and where the beginning or the end that all
names of a folder share stops.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from segfw.core.errors import DataError

WORD = re.compile(r"[0-9]+|[^\W\d_]+|[\W_]")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
NUMBER = re.compile(r"[0-9]+|[^0-9]+")
DIGITS = "0123456789"
LABEL_WORD = re.compile(
    r"seg|label|mask|(?<![a-z])gt(?![a-z])|truth|annot|manual|lesion|(?<![a-z])(roi|msk|lbl)s?(?![a-z])"
)
SAMPLED_LABELS = 200  # names from which rules are guessed
IMAGES_PER_KEY = 64  # part of a name that more images share names no case
TRIED_RULES = 200


@dataclass(frozen=True, order=True)
class Affix:
    """What stands before and after the case's name in the names of one kind of file."""

    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before}{{case}}{self.after}"

    def name(self, case: str) -> str:
        """Return the file's name, without ending, of `case`."""
        return f"{self.before}{case}{self.after}"

    def case(self, name: str) -> str | None:
        """Return the case in the file's `name`, None where the name is of another kind."""
        end = len(name) - len(self.after)
        fits = name.startswith(self.before) and name.endswith(self.after) and len(self.before) < end
        return name[len(self.before) : end] if fits else None


@dataclass(frozen=True)
class NameRule:
    """How the names of images (one affix per channel, in order) and of label maps are made from the case's."""

    images: tuple[Affix, ...]
    label: Affix

    def __str__(self) -> str:
        return self.text("images", "label maps")

    def text(self, images: str, labels: str) -> str:
        """Return the rule in the caller's words for the two kinds of file."""
        return f"{images} {', '.join(map(str, self.images))}; {labels} {self.label}"

    @property
    def channels(self) -> tuple[str, ...]:
        """The word or number that tells each channel's files from the others'; empty for a single channel."""
        if len(self.images) == 1:
            return ("",)
        varying = [side for side in ("before", "after") if len({getattr(affix, side) for affix in self.images}) > 1]
        words = [" ".join(getattr(affix, side) for side in varying) for affix in self.images]
        return tuple(re.sub(r"^[\W_]+|[\W_]+$", "", word) or str(number) for number, word in enumerate(words))


class TwoRulesError(DataError):
    """Two rules pair equally many of the names, and differently; `text` tells it in the caller's words."""

    def __init__(self, rules: tuple[NameRule, NameRule], num_paired: int, num_images: int, num_labels: int) -> None:
        self.rules, self.num_paired = rules, num_paired
        self.num_images, self.num_labels = num_images, num_labels
        super().__init__(self.text("images", "label maps"))

    def text(self, images: str, labels: str) -> str:
        """Return what no rule pairs and the two that come closest."""
        one, other = (rule.text(images, labels) for rule in self.rules)
        return (
            f"no one rule pairs the names of all {self.num_images} {images} and {self.num_labels} {labels}; "
            f"two rules pair {self.num_paired} of them differently:\n  {one}\n  {other}"
        )


def find_rule(images: Iterable[str], labels: Iterable[str], mixed: bool = False) -> NameRule | None:
    """Return the rule by which most label maps have all their images, None if no label map has any.

    `mixed`: both lie in one folder and `labels` are the same names, of which those with a word such as `seg` or `mask`
    are label maps. Raises `TwoRulesError` if two rules do equally well and pair differently.
    """
    image_names, label_names = set(images), sorted(set(labels))
    guesses = _guesses(image_names, label_names, mixed)
    judged = [_judge(image_names, label_names, affix, votes) for affix, votes in guesses]
    ranked = sorted((found for found in judged if found is not None), key=lambda found: found.rank)
    if not ranked:
        return None
    best = ranked[0]
    for other in ranked[1:]:
        rivals = len(other.pairs) == len(best.pairs) and other.pairs.keys() != best.pairs.keys()
        if rivals or (other.rank == best.rank and other.pairs != best.pairs):
            raise TwoRulesError((best.rule, other.rule), len(best.pairs), len(image_names), len(label_names))
    return best.rule


@dataclass(frozen=True)
class _Judged:
    """A rule and what it gives: {label map: images}."""

    rule: NameRule
    pairs: dict[str, tuple[str, ...]]

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Most cases first, then the fewest words around them, then the most images, separators outside the case."""
        around = self.rule.label.before + self.rule.label.after
        return -len(self.pairs), sum(map(str.isalnum, around)), -len(self.rule.images), -len(around)


def _guesses(images: set[str], labels: list[str], mixed: bool) -> list[tuple[Affix, Counter[Affix]]]:
    """Return label affixes, the most promising first, each with how often each image affix goes with it."""
    cuts = _Cuts(labels)
    keys = {name: list(cuts.parts(name)) for name in labels[:: max(1, len(labels) // SAMPLED_LABELS)]}
    wanted = {name[start:end] for name, parts in keys.items() for start, end in parts}
    holders: dict[str, list[tuple[str, Affix]]] = defaultdict(list)
    cuts = _Cuts(images)
    for name in sorted(images):
        for start, end in cuts.parts(name):
            key = name[start:end]
            if key in wanted and len(holders[key]) <= IMAGES_PER_KEY:
                holders[key].append((name, Affix(name[:start], name[end:])))
    votes: dict[Affix, Counter[Affix]] = defaultdict(Counter)
    for label, parts in keys.items():
        for start, end in parts:
            affix, found = Affix(label[:start], label[end:]), holders[label[start:end]]
            if len(found) > IMAGES_PER_KEY or (mixed and not _says_label(affix)):
                continue
            votes[affix].update(other for image, other in found if _may_pair(affix, other, mixed))
    ranked = sorted((-max(count.values()), len(str(affix)), affix) for affix, count in votes.items() if count)
    return [(affix, votes[affix]) for most, _, affix in ranked[:TRIED_RULES] if 2 * most <= ranked[0][0]]


def _may_pair(label: Affix, image: Affix, mixed: bool) -> bool:
    """Whether files of these two kinds may belong together.

    Not so where the affixes begin alike up to a number that differs: case_1 and case_10 are two cases.
    """
    for mine, theirs in ((label.before, image.before), (label.after, image.after)):
        words = zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=False)
        first = next(((one, other) for one, other in words if one != other), None)
        if first is not None and first[0][0] in DIGITS and first[1][0] in DIGITS:
            return False
    return not (mixed and (label == image or _says_label(image)))


def _judge(images: set[str], labels: Sequence[str], label: Affix, votes: Counter[Affix]) -> _Judged | None:
    """Choose the channels of a label affix: the image affixes that most of its label maps have."""
    cases = {name: case for name in labels if (case := label.case(name)) is not None}
    likely = [affix for affix, count in votes.most_common() if 4 * count >= max(votes.values())]
    partners = {
        affix: {name for name, case in cases.items() if affix.name(case) in images} for affix in likely[:IMAGES_PER_KEY]
    }
    some: set[str] = set().union(*partners.values())
    chosen: list[Affix] = []
    used: set[str] = set()
    for affix, found in sorted(partners.items(), key=lambda item: -len(item[1])):
        files = {affix.name(cases[name]) for name in found}
        if 2 * len(found) > len(some) and not files & used:
            chosen.append(affix)
            used |= files
    if not chosen:
        return None
    chosen.sort(key=_in_order)
    whole = set.intersection(*(partners[affix] for affix in chosen))
    pairs = {name: tuple(affix.name(cases[name]) for affix in chosen) for name in sorted(whole)}
    if not pairs or (len(pairs) == 1 and not _is_evident(label, chosen, *pairs)):
        return None
    return _Judged(NameRule(tuple(chosen), label), pairs)


def _in_order(affix: Affix) -> list[tuple[int, int, str]]:
    """Sort key of channels: by words and by the value of numbers, so that 2 comes before 10."""
    words = NUMBER.findall(f"{affix.before}/{affix.after}")
    return [(0, int(word), word) if word[0] in DIGITS else (1, 0, word) for word in words]


def _is_evident(label: Affix, images: Sequence[Affix], name: str) -> bool:
    """Whether the names of a single pair agree in more than a common word: in the number, else from the beginning.

    A date or a session is no case: before it, both names must have the same numbers (Pat13_2019 is not Pat04_2019),
    and behind it, too, unless only one of them has any (case1_0000 and case1_seg).
    """
    if any(map(str.isdigit, name)):
        case = label.case(name) or ""
        return any(map(str.isdigit, case)) and all(_same_numbers(label, affix) for affix in images)
    return not label.before and not any(affix.before for affix in images)


def _same_numbers(label: Affix, image: Affix) -> bool:
    behind = _numbers(label.after), _numbers(image.after)
    return _numbers(label.before) == _numbers(image.before) and (not all(behind) or behind[0] == behind[1])


def _numbers(text: str) -> list[str]:
    return re.findall("[0-9]+", text)


class _Cuts:
    """Where the names of one folder may be cut."""

    def __init__(self, names: Iterable[str]) -> None:
        listed = list(names)
        self._prefix = _shared_length(listed)
        self._suffix = _shared_length([name[::-1] for name in listed])

    def parts(self, name: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of every part of `name` that may be the case's."""
        cuts = {0, len(name), *(word.start() for word in WORD.finditer(name))}
        cuts.update(hump.start() for hump in CAMEL.finditer(name))
        cuts.update(cut for cut in (self._prefix, len(name) - self._suffix) if not _within_number(name, cut))
        ordered = sorted(cuts)
        for i, start in enumerate(ordered):
            yield from ((start, end) for end in ordered[i + 1 :] if any(map(str.isalnum, name[start:end])))


def _shared_length(names: Sequence[str]) -> int:
    """Return how many first characters all names share: those that the first and the last in order do."""
    first, last = min(names, default=""), max(names, default="")
    return next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))


def _within_number(name: str, cut: int) -> bool:
    return 0 < cut < len(name) and name[cut - 1].isdigit() and name[cut].isdigit()


def _says_label(affix: Affix) -> bool:
    return LABEL_WORD.search(f"{affix.before} {affix.after}".lower()) is not None
