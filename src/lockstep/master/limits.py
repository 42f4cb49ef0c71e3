"""Every limit of the server, by name (HOUSE law 5). Values only."""

from typing import Final

MAX_LINE_BYTES: Final = 1 << 20
"""A line longer than this is cut into several."""

REST_SMALL: Final = 4096
"""Bytes of a command's unfinished lines that are stored with each commit; longer ones when they have doubled."""

REST_LATE: Final = 1 << 20
"""Bytes of unfinished lines that an agent keeps at most because of that: it sends a few MB ahead of what is stored."""

GROWING_SHOWN: Final = 4096
"""Bytes of the end of a line that has not ended that are shown while it grows."""

MAX_LOG_LINES: Final = 20_000_000
"""A log keeps so many lines; the rest of what a command says is not kept."""

MAX_LOG_BYTES: Final = 1 << 32
"""Bytes that a log keeps where `c['logMaxSize']` does not say less (after a restart they are counted anew)."""

TAPE_PIECE: Final = 10_000
"""Lines of a stored log that are read at once for observers on replay."""

MAX_RESULT_FILE: Final = 16 << 20
"""Bytes of a file that a step may take into memory (`getFileContentFromWorker`)."""

MAX_GUESSES: Final = 10
"""Wrong passwords of a worker from one address that are looked at, one after another; then one in `GUESS_SECONDS`."""

GUESS_SECONDS: Final = 30.0
"""Seconds after which a wrong password does not count any more."""

MAX_GUESSERS: Final = 10_000
"""Pairs of worker and address whose wrong passwords are counted."""

MAX_NEWCOMERS: Final = 8
"""Connections of one worker that have not been taken yet: of more, the new ones are refused."""

MAX_UNSENT: Final = 64
"""Messages that wait to be sent to one worker; with more, it is not listened to until it has read some."""

MAX_UPLOADED_ENTRIES: Final = 1_000_000
"""Files, folders and links in one directory that a worker sends."""

MAX_UPLOADED_DEPTH: Final = 256
"""Folders that may be inside one another in a directory that a worker sends."""

MAX_ARCHIVE_HEADER: Final = 1 << 16
"""Bytes of what an archive says of one entry (its names above all): it is read into memory."""

MAX_CONNECTIONS: Final = 2_000
"""Connections at once; of more, those go that have waited longest for a request to come whole."""

SPARE_FILES: Final = 256
"""Of the files that a process may have open, so many are for other things than connections; half, if they are few."""

ACCEPTED_AT_ONCE: Final = 30
"""Connections that are accepted before those that are too many are ended."""

MAX_INBOX: Final = 100_000
"""Events that may wait; whoever sends more is told to come back."""

COMMIT_DELAY: Final = 0.005
"""Seconds that facts wait for company when nobody waits for their commit."""

COMMIT_TURNS: Final = 10
"""Turns of the event loop that a commit waits for at most while each of them adds facts."""

STOP_GRACE: Final = 10.0
"""Seconds that a step may take to end after its build was stopped; then its code is cancelled."""

STOP_CANCELS: Final = 3
"""How often the code of a stopped step is cancelled, `STOP_GRACE` apart, until its build is taken from it."""

CLOSE_PATIENCE: Final = 2.0
"""Seconds that the code of steps has to end at the server's stop; then it is left behind."""

STOP_PATIENCE: Final = 10.0
"""Seconds that local workers have to end their commands and themselves when they are stopped; then they are killed."""

REPLAY_PATIENCE: Final = 30.0
"""Seconds after which a replay that waits for what it did before is taken for one that differs."""

REMAKE_PATIENCE: Final = 30.0
"""Seconds that the replay of an ended step may take at a start."""

TURNS_BETWEEN_RESULTS: Final = 8
"""Turns of the event loop between two results that are given to a step: what follows from the first comes first."""

HEALTH_SECONDS: Final = 60.0
"""How long a pool's `healthCheck` may take; a unit of which it takes longer is not fit."""

HEALTH_AT_ONCE: Final = 8
"""Units that are looked at at once."""

HOOK_PAUSE: Final = 0.05
"""Seconds between two rounds in which hooks of the configuration are asked again."""

HOOK_PERIOD: Final = 60.0
"""Seconds after which hooks are asked again though nothing has happened here: they may look at the time, or outside."""

HOOK_ROUND: Final = 50
"""In a round so many requests from the front of the queue are asked about again, and as many of the others in turn."""

HOOK_TIMEOUT: Final = 60.0
"""Seconds that a hook may take to answer."""

POLLS_AT_ONCE: Final = 8
"""Polls of change sources that run at once; those that take longer than `POLL_PATIENCE` do not count."""

POLL_PATIENCE: Final = 30.0
"""Seconds after which a poll keeps no other source waiting, and the log says that it goes on."""

SCHEDULER_KEEP: Final = 10_000
"""Facts after which what a scheduler remembers of them is stored: so many are read again at most after a kill."""

SCHEDULER_PAUSE: Final = 60.0
"""Seconds after which a scheduler that failed when its time had come is asked again."""

SECRET_TIMEOUT: Final = 30.0
"""Seconds that providers may take to answer with the secrets of one command."""

MAX_NOTICES: Final = 50
"""Notices about bookings that are on their way at once; more are not sent."""

NOTICE_TIMEOUT: Final = 10.0
"""Seconds that the sending of a notice may take."""

NOTICE_SOON: Final = 600.0
"""So many seconds before its end a booking is said to end soon; of a shorter one, the last tenth."""

READING_LONG: Final = 30.0
"""Seconds after which the log says that the configuration is still being executed."""
