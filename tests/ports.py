"""Ports that tests keep: servers on them go and come back, and nobody else listens there, or connects from there."""

import socket


class KeptPort:
    """A port of 127.0.0.1 that is the test's until it is given back, whoever listens there and ends meanwhile.

    It is bound to a socket that never listens. So the system gives it to nobody who asks for some port, and to no
    outgoing connection; but who names it and sets SO_REUSEADDR, as servers do, may listen there (socket(7)).
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def give_back(self) -> None:
        """Anybody may have it."""
        self._socket.close()
