"""The Hub's refusals, and its silence, as sentences that say what to do."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pythia_traj.errors import HubError, StoreError
from pythia_traj.hub import answers
from pythia_traj.hub.deadline import TooSlowError
from pythia_traj.hub.retry import GivenUpError, StatusError, describe
from pythia_traj.printable import one_line

_NETWORK_ADVICE = (
    "check the network, proxies and HF_ENDPOINT; with HF_HUB_OFFLINE=1 only what is on this machine"
    " is used"
)
_OF_THE_DISK = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS}

_REASON = 300
"""Characters of a reason that a message quotes: some libraries quote what a server said."""


class Refusals:
    """Those of one endpoint.

    Args:
        has_token: whether the user has a token, asked when a refusal may be for want of one.
    """

    def __init__(self, endpoint: str, has_token: Callable[[], bool]) -> None:
        self._endpoint, self._has_token = endpoint, has_token

    @contextmanager
    def said(self, repo: str) -> Iterator[None]:
        """Turns the Hub's refusals, and its silence, into HubErrors that are sentences."""
        try:
            yield
        except GivenUpError as error:
            raise self._given_up(error, repo) from None
        except GatedRepoError:
            raise HubError(
                f"{repo} is gated: accept its terms on its page, then {self._token_advice()}"
            ) from None
        except RepositoryNotFoundError:
            raise HubError(
                f"{self._endpoint} has no repository {repo}; if it is private,"
                f" {self._token_advice()}"
            ) from None
        except RevisionNotFoundError:
            raise HubError(f"{repo} has no such revision any more: repeat with --refresh") from None
        except EntryNotFoundError:
            raise HubError(f"{repo} has no such file") from None
        except HFValidationError as error:
            raise HubError(one_line(f"{repo!r} is not the name of a repository: {error}")) from None
        except OfflineModeIsEnabled:
            raise HubError(
                f"HF_HUB_OFFLINE is set and this part of {repo} is not on this machine"
            ) from None
        except (answers.UnfitError, answers.DamagedError) as error:
            raise HubError(
                f"{self._endpoint} does not answer like a Hub: {error};"
                " check HF_ENDPOINT and proxies"
            ) from None
        except HfHubHTTPError as error:
            status = describe(error)
            advice = (
                self._token_advice()
                if error.response.status_code in {401, 403}
                else "try again later"
            )
            raise HubError(f"{self._endpoint} answers {status} for {repo}: {advice}") from None
        except StatusError as error:
            raise HubError(
                f"{self._endpoint} answers {describe(error)} for {repo}: try again later"
            ) from None
        except OSError as error:
            if isinstance(error, ConnectionError) or error.errno not in _OF_THE_DISK:
                raise self._unreachable(error) from None
            raise cannot_write(error) from None
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None

    def _given_up(self, error: GivenUpError, repo: str) -> HubError:
        if error.is_silence:
            does = (
                "answers too slowly" if isinstance(error.last, TooSlowError) else "does not answer"
            )
            return HubError(
                f"{(error.host or self._endpoint)[:_REASON]} {does} ({error.effort}):"
                f" {_NETWORK_ADVICE}"
            )
        try:
            with self.said(repo):
                raise error.last
        except HubError as refusal:
            return HubError(f"{refusal}; given up after {error.effort}")

    def _unreachable(self, error: Exception) -> HubError:
        return HubError(
            f"{self._endpoint} cannot be reached ({one_line(describe(error))[:_REASON]}):"
            f" {_NETWORK_ADVICE}"
        )

    def _token_advice(self) -> str:
        if self._has_token():
            return (
                "use a token that has access:"
                " the one in use (HF_TOKEN, or of `hf auth login`) has none"
            )
        return "set HF_TOKEN to a token that has access"


def cannot_write(error: OSError) -> StoreError:
    """What is said of the Hub's cache on this machine where it cannot be written."""
    return StoreError(
        f"cannot write to the Hub's cache in {constants.HF_HUB_CACHE}: {error.strerror};"
        " set HF_HOME"
    )
