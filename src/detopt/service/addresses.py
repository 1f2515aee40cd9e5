"""Where plain HTTP is allowed: nowhere but on the machine itself."""

__all__ = ["check_served", "check_url", "is_loopback", "make_certificate"]

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from detopt.errors import ConfigError
from detopt.optional import require


def is_loopback(host: str) -> bool:
    """Whether an address never leaves the machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: str) -> str:
    """A service's address that a worker may use.

    Raises:
        ConfigError: It is no HTTPS, and leads elsewhere than to this machine; or it holds a secret.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(
            f"{url!r} is no address of a service: {error}. It reads https://HOST:PORT."
        ) from error
    if parts.username or parts.password or parts.query:
        raise ConfigError("The address of a service must hold no password and no query.")
    if not parts.hostname or parts.scheme not in {"http", "https"}:
        raise ConfigError(f"{url!r} is no address of a service. It reads https://HOST:PORT.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(f"{url} would send the token and the results unprotected. Use https://.")
    return url.rstrip("/")


def check_served(host: str, certificate: Path | None, key: Path | None) -> None:
    """Whether a service may listen there.

    Raises:
        ConfigError: Without a certificate, elsewhere than on this machine; or a file is missing or
            holds none.
    """
    if (certificate is None) != (key is None):
        raise ConfigError("A certificate needs its key, and a key its certificate.")
    if certificate is None and not is_loopback(host):
        raise ConfigError(
            f"Listening on {host} needs TLS: give --certificate and --key. Without them a service "
            "listens on 127.0.0.1 only."
        )
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise ConfigError(f"The file {path} does not exist.")
    if certificate is not None and key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except OSError as error:
            raise ConfigError(
                f"{certificate} and {key} are no certificate and its key in PEM: {error}."
            ) from error


def make_certificate(folder: Path, host: str = "127.0.0.1", days: int = 30) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key, for tests and small groups.

    Workers trust it where they are given the file.

    Args:
        folder: Where to write `certificate.pem` and `key.pem`.
        host: Name or address of the service.
        days: How long it holds.

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """
    require("cryptography", extra="service", purpose="Making a certificate")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as formats
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, host)])
    alternative: x509.GeneralName
    try:
        alternative = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[1].touch(mode=0o600)
    paths[1].chmod(0o600)  # also where it was there
    paths[0].write_bytes(certificate.public_bytes(formats.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(formats.Encoding.PEM, formats.PrivateFormat.PKCS8, formats.NoEncryption())
    )
    return paths
