"""Secrets of eighteen kinds that belong to nobody, drawn at run time so that the tree holds none of their shapes."""

from __future__ import annotations

import base64
import json
import random
import string

_HEX = "0123456789abcdef"
_ALNUM = string.ascii_letters + string.digits


def planted(seed: int = 18) -> dict[str, str]:
    """Return eighteen secrets by kind; the same for the same seed."""
    source = random.Random(seed)

    def draw(n: int, alphabet: str = _ALNUM) -> str:
        # Each kind of character at least once: what a generator of keys gives in practice.
        return "".join(source.choices(alphabet, k=n - 3)) + "".join(
            source.sample("aQ7" if alphabet == _ALNUM else alphabet, 3)
        )

    def segment(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    body = "\n".join(draw(64, _ALNUM + "+/") for _ in range(4))
    return {
        "aws key id": "AK" + "IA" + draw(16, string.ascii_uppercase + string.digits),
        "aws secret": draw(40),
        "github token": "gh" + "p_" + draw(36),
        "gitlab token": "gl" + "pat-" + draw(20),
        "slack token": "xo" + "xb-" + draw(12, string.digits) + "-" + draw(24),
        "stripe key": "sk" + "_live_" + draw(24),
        "google key": "AI" + "za" + draw(35),
        "openai key": "sk" + "-proj-" + draw(48),
        "anthropic key": "sk" + "-ant-api03-" + draw(80),
        "hugging face token": "h" + "f_" + draw(34),
        "npm token": "np" + "m_" + draw(36),
        "pypi token": "py" + "pi-AgEIcHlwaS5vcmc" + draw(80),
        "json web token": f"{segment({'alg': 'HS256'})}.{segment({'sub': draw(12)})}.{draw(43)}",
        "private key": "-----BEGIN RSA "
        + "PRIVATE KEY-----\n"
        + body
        + "\n-----END RSA "
        + "PRIVATE KEY-----",
        "url password": "postgres" + "://app:" + draw(14) + "@db.internal.io:5432/app",
        "email": "jane.doe" + "@" + "acme-corp.com",
        "random hex": draw(40, _HEX),
        "prose password": "tr0ub" + draw(6),
    }
