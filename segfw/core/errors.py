"""The errors a user may meet, and the exit status each one means.

    SegfwError
    ├── UsageError        the command line or the configuration is wrong        exit 2
    └── JobError          the job could not be done                             exit 1
        ├── TimeIsOver    the time that the user gave it is used up; nothing is wrong
        ├── DataError     an image, a label map or a dataset folder is at fault
        ├── ArtefactError a generated file is missing, stale, damaged or too new
        ├── DeviceError   the hardware asked for cannot be used
        └── WriteError    a file cannot be written: no room, no rights; an OSError, too

A message says what went wrong, where (case, file or key), what was found and what was allowed. Everything else that is
raised is a bug of ours: the entry point prints one line about it and keeps the traceback in the log.
"""


class SegfwError(Exception):
    """Any failure that is expected and explained to the user."""

    exit_status = 1


class UsageError(SegfwError):
    """The command line or the configuration is wrong."""

    exit_status = 2


class JobError(SegfwError):
    """The job could not be done."""


class TimeIsOver(JobError):
    """The time that the user gave the job is used up; what is done is saved, and nothing is wrong."""


class DataError(JobError):
    """An image, a label map or a dataset folder is at fault; the message names the case and the file."""


class ArtefactError(JobError):
    """A generated file is missing, stale, damaged, or written by a newer version."""


class DeviceError(JobError):
    """The hardware asked for cannot be used as it is."""


class WriteError(JobError, OSError):
    """A file cannot be written: the disk is full or read-only, or rights are missing.

    `errno`, `strerror` and `filename` are those of the system's error that it explains (see `files.write_error`).
    """

    def __str__(self) -> str:
        return str(self.args[0])
