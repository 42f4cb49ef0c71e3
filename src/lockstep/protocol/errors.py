"""The one exception of the protocol, which says whose fault it is."""

from typing import Literal

Party = Literal["agent", "master"]


class ProtocolError(Exception):
    """One side said something that the protocol does not allow. The connection should be closed.

    `fault` names the side that is wrong, the text says what was wrong and, where it helps, what was expected.
    """

    def __init__(self, fault: Party, sentence: str) -> None:
        """Make the error; `sentence` is for people and holds no secrets."""
        super().__init__(f"the {fault} broke the protocol: {sentence}")
        self.fault: Party = fault
        self.sentence = sentence
