"""Reading the settings: flags win over variables and files, and these win over defaults."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from msgspec import Struct

from relay.config.declaring import VARIABLE_PREFIX, Setting, settings_of, to_flag, to_variable
from relay.config.old_names import OLD_NAMES, OldName, merge
from relay.config.redis_url import has_credentials, parse_redis_url
from relay.config.service_variables import without_service_variables
from relay.config.settings import Settings, declared
from relay.model.errors import NotAllowed

ReadSecret = Callable[[str], str]
"""Returns the secret in a file. Raises OSError, or a ValueError whose text continues a sentence about the file."""


class Extension(NamedTuple):
    """Settings of a package on a floor above: the Struct that declares them, and their names in earlier versions."""

    declaring: type[Struct]
    old_names: Sequence[OldName] = ()


class Loaded(NamedTuple):
    """Settings, the source of each (a flag, a variable, or "default"), and warnings about old names."""

    settings: Settings
    sources: dict[str, str]
    warnings: list[str]


class SettingsError(Exception):
    """One or more settings are wrong. Each line names a setting, its source, its value and the allowed values."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _read_no_files(path: str) -> str:
    raise ValueError("is not read here")


def load(
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    read_secret: ReadSecret = _read_no_files,
    extensions: Sequence[Extension] = (),
) -> Loaded:
    """Read all settings from flags (setting name → text) and from environment variables.

    `extensions` are further settings, which `Settings.of` returns. Old names are accepted in flags and variables.
    Raises `SettingsError`, which lists every problem and not only the first.
    """
    environ = without_service_variables(environ)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    warnings: list[str] = []
    reader = _Reader(flags, environ, read_secret)
    known = list(declared(*(one.declaring for one in extensions)))
    old_names = [*OLD_NAMES, *(old for one in extensions for old in one.old_names)]
    problems = _unknown_variables(environ, known, old_names)
    for setting in known:
        # Problems are collected and not raised at once, so that the operator sees all of them in one run.
        try:
            found = reader.read(setting.name, secret=setting.secret)
            old = _read_old_names(setting, old_names, reader, found, warnings)
            found = found or old
            sources[setting.name] = found.source if found else "default"
            if found:
                values[setting.name] = _convert(setting, found)
        except _ProblemError as problem:
            problems.append(str(problem))
    warnings += _warn_of_removed(old_names, reader)
    if not problems:
        # Only settings that are valid by themselves can be compared with each other.
        own = {one.name for one in settings_of(Settings)}
        further = {name: values.pop(name) for name in values.keys() - own}
        settings = Settings(**values, extensions=further)
        problems = _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, sources, warnings)


class _ProblemError(Exception):
    """One problem with a setting, in words for the operator."""


class _Found(NamedTuple):
    """The text of a setting, and the flag or variable that it came from."""

    text: str
    source: str


class _Reader:
    """Finds the text of a setting, under its name of today or an old one."""

    def __init__(self, flags: Mapping[str, str], environ: Mapping[str, str], read_secret: ReadSecret) -> None:
        self._flags = flags
        self._environ = environ
        self._read_secret = read_secret

    def read(self, name: str, *, secret: bool) -> _Found | None:
        """Return the text of a setting, None if it is not set; read a secret from the file that a variable names."""
        variable = to_variable(name)
        file_variable = f"{variable}_FILE"
        in_file = secret and file_variable in self._environ
        if in_file and variable in self._environ:
            raise _ProblemError(f"{name}: {variable} and {file_variable} are both set; leave one out")
        # A flag wins, and then the file of a variable is not even opened.
        if name in self._flags:
            return _Found(self._flags[name], to_flag(name))
        if variable in self._environ:
            return _Found(self._environ[variable], variable)
        if not in_file:
            return None
        path = self._environ[file_variable]
        try:
            return _Found(self._read_secret(path), file_variable)
        except (OSError, ValueError) as error:
            reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            # Only a text that looks like a path is shown: some write the secret itself into this variable.
            hidden = "the file that it names (it takes the path of a file, and not the secret itself)"
            file = f"the file {path!r}" if _is_path(path) else hidden
            raise _ProblemError(f"{name} (from {file_variable}): {file} {reason}") from None


def _is_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~/")) and "@" not in text


def _read_old_names(
    setting: Setting, old_names: Sequence[OldName], reader: _Reader, found: _Found | None, warnings: list[str]
) -> _Found | None:
    """Return a setting's text under its old names, and add the warnings; both names at once are an error."""
    named = [(one, reader.read(one.name, secret=one.secret)) for one in old_names if one.new == setting.name]
    old = [(one, of_old) for one, of_old in named if of_old]
    if not old:
        return None
    if found:
        names = " and ".join(of_old.source for _, of_old in old)
        raise _ProblemError(
            f"{setting.name}: {found.source} and {names} are both set, but {names} is an old name of the same setting; "
            f"leave {names} out"
        )
    text = merge(setting.name, {one.name: of_old.text for one, of_old in old})
    shown = "***" if setting.secret else text
    warnings += [_warning(one, of_old.source, setting, shown) for one, of_old in old]
    return _Found(text, ", ".join(of_old.source for _, of_old in old))


def _warning(old: OldName, source: str, setting: Setting, text: str) -> str:
    """Say which name replaces the flag or variable that was used; of the same kind, so that it can be copied."""
    if source.startswith("--"):
        new, value = setting.flag, f"{setting.flag} {text or repr(text)}"
    else:
        new = setting.file_variable if source.endswith("_FILE") else setting.variable
        value = f"{setting.variable}={text}"
    if old.folded:
        return f"{source} has become part of {new}; the relay uses {value}, and accepts the old name until version 2.0"
    return f"{source} is now called {new}; the relay accepts the old name until version 2.0"


def _warn_of_removed(old_names: Sequence[OldName], reader: _Reader) -> list[str]:
    removed = [(one, reader.read(one.name, secret=False)) for one in old_names if not one.new]
    return [
        f"{found.source} has no effect any more: {one.now}; the relay accepts the old name until version 2.0"
        for one, found in removed
        if found
    ]


def _unknown_variables(
    environ: Mapping[str, str], settings: Sequence[Setting], old_names: Sequence[OldName]
) -> list[str]:
    known = {name for one in settings for name in (one.variable, one.file_variable)}
    known |= {to_variable(one.name) for one in old_names}
    known |= {f"{to_variable(one.name)}_FILE" for one in old_names if one.secret}
    names = sorted(name for name in environ if name.startswith(VARIABLE_PREFIX) and name not in known)
    return [f"{name}: there is no such setting; {_advice(name, settings)}" for name in names]


def _advice(name: str, settings: Sequence[Setting]) -> str:
    variables = [name for one in settings for name in (one.variable, one.file_variable) if name]
    # All variables begin alike, so that this part says nothing about how similar two of them are.
    ends = [variable.removeprefix(VARIABLE_PREFIX) for variable in variables]
    similar = get_close_matches(name.removeprefix(VARIABLE_PREFIX), ends, 1, cutoff=0.75)
    return f"did you mean {VARIABLE_PREFIX}{similar[0]}?" if similar else "`relay serve --help` lists them all"


def _convert(setting: Setting, found: _Found) -> Any:
    """Return the value of a setting's text."""
    try:
        return setting.read(found.text)
    except NotAllowed as error:
        raise _ProblemError(f"{setting.name} (from {found.source}): {error}; allowed: {setting.allowed}") from None
    except ValueError:  # also msgspec's error
        shown = "***" if setting.secret or has_credentials(found.text) else repr(found.text)
        raise _ProblemError(
            f"{setting.name} (from {found.source}): {shown} is not allowed; allowed: {setting.allowed}"
        ) from None


def _contradictions(settings: Settings) -> list[str]:
    """Return the problems that only several settings together show."""
    problems = []
    if settings.workers > 1 and not settings.redis_url:
        problems.append(
            f"workers: {settings.workers} is not allowed without Redis: workers exchange messages only through Redis; "
            "set --redis-url redis://localhost:6379 (or RELAY_REDIS_URL), or --workers 1"
        )
    if settings.replicas and not settings.redis_url:
        problems.append(f"durability: {settings.durability} is not allowed without Redis, which has the replicas")
    redis = parse_redis_url(settings.redis_url)
    if settings.redis_password and redis is not None and redis.password:
        problems.append("redis_password: the Redis URL has a password already; leave one out")
    if settings.fleet_secret and settings.admin_token in settings.fleet_secret.split():
        problems.append("fleet_secret: is the admin token as well; make another secret for one of them")
    if bool(settings.tls_cert) != bool(settings.tls_key):
        missing = "tls_key" if settings.tls_cert else "tls_cert"
        problems.append(f"{missing}: is missing; tls_cert and tls_key go together")
    admin = settings.admin_address
    if admin and admin.port == settings.port:
        problems.append(f"admin_listen: port {admin.port} is not allowed: clients use it (setting port)")
    if settings.send_buffer < 2 * settings.max_message:
        problems.append(
            f"send_buffer: {settings.send_buffer} is not allowed with a max_message of {settings.max_message}: it must "
            "be at least twice as large, so that a client can be sent the largest message, also in a replay"
        )
    problems += _forwarding_problems(settings)
    problems += _turn_problems(settings)
    problems += _webhook_problems(settings)
    problems += _token_problems(settings)
    if settings.room_state_ttl <= max(settings.worker_lease, settings.reconnect_grace):
        problems.append(
            "room_state_ttl: must be longer than worker_lease and reconnect_grace, or Redis forgets live members"
        )
    if settings.history_size and settings.history_ttl < settings.reconnect_grace:
        problems.append(
            "history_ttl: must not be shorter than reconnect_grace, or a client that returns in time misses messages"
        )
    return problems


def _turn_problems(settings: Settings) -> list[str]:
    # The secret alone is allowed: a deployment may give it to all workers, and name servers only if there are some.
    if settings.turn_servers and not settings.turn_secret:
        return ["turn_secret: is missing; without it, the relay cannot make credentials for turn_servers"]
    # The machine of the TURN server has the secret, and should have no rights here.
    others = {settings.admin_token, *settings.fleet_secret.split(), *settings.auth_secret.split()}
    if settings.turn_secret and settings.turn_secret in others:
        return ["turn_secret: is the admin token, the fleet secret or auth_secret as well; make another one for it"]
    return []


def _token_problems(settings: Settings) -> list[str]:
    problems = []
    if settings.auth != "off" and not (settings.auth_secret or settings.auth_key or settings.auth_jwks):
        problems.append(
            f"auth: {settings.auth} is not allowed without a key that proves tokens; set --auth-secret, --auth-key or "
            "--auth-jwks (or RELAY_AUTH_SECRET, RELAY_AUTH_KEY, RELAY_AUTH_JWKS)"
        )
    secrets = settings.auth_secret.split()
    if settings.admin_token in secrets or set(settings.fleet_secret.split()) & set(secrets):
        problems.append("auth_secret: is the admin token or the fleet secret as well; make another one for it")
    return problems


def _webhook_problems(settings: Settings) -> list[str]:
    if bool(settings.webhook_url) != bool(settings.webhook_secret):
        missing = "webhook_secret" if settings.webhook_url else "webhook_url"
        return [f"{missing}: is missing; webhook_url and webhook_secret go together"]
    # The receiver has the secret, and should have no rights here.
    others = {settings.admin_token, settings.turn_secret, *settings.fleet_secret.split(), *settings.auth_secret.split()}
    if not others.isdisjoint(settings.webhook_secret.split()):
        return ["webhook_secret: is another secret of the relay as well; make one for the webhook alone"]
    return []


def _forwarding_problems(settings: Settings) -> list[str]:
    address = settings.forward_address
    if bool(address) != bool(settings.forward_networks):
        missing = "forward_networks" if address else "forward_listen"
        return [f"{missing}: is missing; forward_listen and forward_networks go together"]
    if address is None:
        return []
    problems = []
    if not settings.redis_url:
        problems.append("forward_listen: is not allowed without Redis, in which replicas find each other's addresses")
    ip = ip_address(address.host)
    if not ip.is_unspecified and not any(ip in ip_network(one) for one in settings.forward_networks):
        problems.append(f"forward_listen: {ip} is in none of the forward_networks")
    ports = range(address.port, address.port + settings.workers)
    if ports[-1] > 65_535:
        problems.append(
            f"forward_listen: {settings.workers} workers need ports up to {ports[-1]}, and 65535 is the last"
        )
    for name, port in (("port", settings.port), ("admin_listen", getattr(settings.admin_address, "port", 0))):
        if port in ports:
            problems.append(f"forward_listen: port {port} is not allowed: setting {name} uses it")
    return problems
