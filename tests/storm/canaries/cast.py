"""The people of the canary proof: each value of theirs is written nowhere else, and all of a kind begin alike.

ID numbers carry the unassigned prefix 659999, cards 629999; nobody's name begins like these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.conformance import people
from tests.store import kit
from tests.storm.street import BANK_NUMBERS

NAMES: Final = "伽蓝努尔·"
SYLLABLES: Final = "阿巴库尔吐逊江提明古丽娜孜热合曼木沙依布拉音米"  # all of them in the banks' encodings
_FIRST: Final = 70_000  # beyond the people of every other test
_MOBILES: Final = "1390659"

Item = dict[str, Any]


@dataclass
class Cast:
    """Hands out people; remembers every value that it gave away."""

    count: int = 0
    values: list[str] = field(default_factory=list)

    def person(self) -> dict[str, str]:
        """Name, ID number, card and mobile of somebody new."""
        number = self.count
        self.count += 1
        first, second = divmod(number, len(SYLLABLES))
        name = NAMES + SYLLABLES[first % len(SYLLABLES)] + SYLLABLES[second]
        made = people.person(_FIRST + number, name)
        found = {"name": made.name, "id_no": made.id_no, "account": made.account, "phone": f"{_MOBILES}{number:04d}"}
        self.values += found.values()
        return found

    def items(self, count: int, changes: Sequence[Mapping[str, str]] = ()) -> list[Item]:
        """Lines of a list: ``count`` that may be paid, at the four banks in turn, then one for each of ``changes``.

        A changed value is a canary like the one that it replaces.
        """
        banks = list(BANK_NUMBERS.values())
        found: list[Item] = []
        for line in range(1, count + len(changes) + 1):
            change = changes[line - count - 1] if line > count else {}
            somebody = self.person()
            change = {name: value.format(**somebody) for name, value in change.items()}
            self.values += [value for name, value in change.items() if name in somebody and value]
            found.append(kit.line(line, **{"bank_no": banks[line % len(banks)], **somebody, **change}))
        return found
