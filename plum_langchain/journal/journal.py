"""The journal: the durable truth of a home, from which everything else can be rebuilt."""

from sqlalchemy import URL

from plum_langchain.encryption.keys import Keys
from plum_langchain.journal.database import Database
from plum_langchain.journal.forgettings import Forgettings
from plum_langchain.journal.generations import Generations
from plum_langchain.journal.jobs import Jobs
from plum_langchain.journal.sessions import Sessions
from plum_langchain.settings import HomeSettings


class Journal:
    """One SQL database with four views of it.

    `sessions` holds what was said, `jobs` who works on whom, `generations` what was learned and
    is served, `forgettings` what was erased. `url` is any SQLAlchemy URL; a home uses SQLite. With
    `keys` text is sealed with them (`sealing`).
    """

    def __init__(
        self, url: str | URL, settings: HomeSettings | None = None, *, keys: Keys | None = None
    ) -> None:
        settings = settings or HomeSettings()
        self._keys = keys
        self._database = Database(url, busy_seconds=settings.busy_seconds, keys=keys)
        self.sessions = Sessions(self._database)
        self.jobs = Jobs(self._database, lease_seconds=settings.lease_seconds)
        self.generations = Generations(
            self._database, max_tries=settings.max_tries, retention=settings.retention
        )
        self.forgettings = Forgettings(self._database)

    @property
    def encrypted(self) -> bool:
        """Whether text is sealed."""
        return self._database.encrypted

    def destroy_key(self, name: str | None) -> bool:
        """Destroy a key that an erasure has retired (`Erased.retired_key`); whether there is one.

        Raises:
            EncryptionError: it can't be, now.
        """
        if name is None or self._keys is None:
            return False
        self._keys.destroy(name)
        return True

    def scrub(self) -> None:
        """Leave no trace of deleted text in the database's files.

        Raises:
            BusyError: another process uses the journal, so that traces may be left.
        """
        self._database.scrub()

    def content(self) -> bytes:
        """All pages of the database, to look for what may be left there.

        Raises:
            PlumError: they can't be had.
        """
        return self._database.content()

    def close(self) -> None:
        """Close the database."""
        self._database.close()
