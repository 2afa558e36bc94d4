"""What the environment says of the way to the Hub: proxies, and the certificates that are trusted.

They are checked before the first request. The Hub's client reads the same variables, but takes some
as they are and then fails far from the cause. It does not know the variables of `requests` and
`curl`, which are set in networks with a certificate authority of their own.
"""

import importlib.util
import os
import ssl
import urllib.request
from functools import cache
from pathlib import Path

import httpx2
from huggingface_hub import get_session, set_client_factory
from huggingface_hub.utils import _http as hub_http

from pythia_traj.errors import HubError
from pythia_traj.outside import SMALL, read_file
from pythia_traj.printable import one_line

_PROXIES = ("http", "https", "all")
_SCHEMES = ("http", "https", "socks5", "socks5h")
_LAST_PORT = 65535

_OF_THE_CLIENT = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_OF_OTHERS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def check() -> None:
    """Checks that requests can be made as the environment wants them.

    Raises:
        HubError: a proxy or certificates that it names cannot be used.
    """
    proxies = urllib.request.getproxies()
    for scheme in _PROXIES:
        if given := proxies.get(scheme):
            _check_proxy(_variable(scheme), given)
    ssl_context()
    _follow_others()
    try:
        get_session()
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
        raise HubError(
            one_line(f"no request can be made with these proxies and certificates: {error}")
        ) from None


def ssl_context() -> ssl.SSLContext:
    """The trusted certificates: those that the first of the variables names, or the system's.

    Raises:
        HubError: the variable names a file that does not exist or holds no certificates.
    """
    name = _trusted()
    return _context("", "") if name is None else _context(name, os.environ[name].strip())


def _trusted() -> str | None:
    """The variable that names the trusted certificates, if one is set."""
    return next(
        (name for name in (*_OF_THE_CLIENT, *_OF_OTHERS) if os.environ.get(name, "").strip()), None
    )


@cache
def _context(name: str, path: str) -> ssl.SSLContext:
    if not name:
        return httpx2.create_ssl_context(trust_env=False)
    folders = [folder for folder in path.split(os.pathsep) if Path(folder).is_dir()]
    try:
        if folders:
            return ssl.create_default_context(capath=os.pathsep.join(folders))
        # A pipe or a device might never end.
        read_file(Path(path), error=HubError, most=SMALL)
        return ssl.create_default_context(cafile=path)
    except FileNotFoundError:
        raise HubError(
            f"{name} names {path}, which is not there:"
            " name a file of certificates (PEM), or unset it"
        ) from None
    except (ssl.SSLError, OSError, HubError):
        raise HubError(
            f"{name} names {path}, which holds no certificates that can be read:"
            " name a file of them (PEM), or unset it"
        ) from None


def _follow_others() -> None:
    """Makes the client trust the certificates that other tools are told to trust.

    A client that already has its own way to make connections is left alone.
    """
    usual = hub_http.default_client_factory
    wanted = _client if _trusted() in _OF_OTHERS else usual
    if (
        hub_http._GLOBAL_CLIENT_FACTORY in (usual, _client)
        and hub_http._GLOBAL_CLIENT_FACTORY is not wanted
    ):
        set_client_factory(wanted)


def _client() -> httpx2.Client:
    """A client as the Hub's own makes it, but for the certificates."""
    hooks = {"request": [hub_http.hf_request_event_hook]}
    return httpx2.Client(
        event_hooks=hooks, follow_redirects=True, timeout=None, verify=ssl_context()
    )


def _check_proxy(name: str, given: str) -> None:
    address = given if "://" in given else f"http://{given}"
    scheme = address.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        shown = one_line(scheme)[:20]
        raise HubError(
            f"{name} names a proxy by {shown}://, which is not known:"
            f" use one of {', '.join(_SCHEMES)}"
        )
    try:
        url = httpx2.URL(address)
        is_address = bool(url.host) and (url.port or 0) <= _LAST_PORT
    except (httpx2.InvalidURL, ValueError):
        is_address = False
    if not is_address:
        # An address that may hold a password is not quoted.
        raise HubError(
            f"{name} is not the address of a proxy:"
            f" give one such as {scheme}://proxy.example:3128, or unset it"
        )
    if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise HubError(
            f"{name} names a SOCKS proxy, which needs a package that is not installed:"
            " pip install socksio"
        )


def _variable(scheme: str) -> str:
    """The variable that gives a proxy."""
    name = f"{scheme}_proxy"
    return name if os.environ.get(name) else name.upper()
