"""What can go wrong in a way that a user can mend.

Nl2CodeError
├── ConfigError            a setting, a flag or the configuration file
├── EndpointError          talking to the model
│   ├── EndpointUnavailable    nobody answers, or the connection broke
│   ├── EndpointTimeout        it took longer than its deadline
│   ├── EndpointRefused        it answered with an HTTP error
│   └── EndpointProtocolError  it answered with something that is not the protocol
├── HostError              starting or stopping the local model host
├── ModelMissing           the model's file is not on this machine yet
├── ModelFileError         fetching or checking a model's file
└── StoreError             the feedback store

Each carries one line that says what happened and one that says what to do about it.
"""

from __future__ import annotations


class Nl2CodeError(Exception):
    """A failure with its fix: `str(error)` is one line, `error.fix` is what the user can do (may be empty)."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} ({self.fix})" if self.fix else self.message


class ConfigError(Nl2CodeError):
    """A setting has a value that cannot be used."""


class EndpointError(Nl2CodeError):
    """The model endpoint did not do what was asked."""


class EndpointUnavailable(EndpointError):
    """Nobody listens at the endpoint, or the connection broke off."""


class EndpointTimeout(EndpointError):
    """The endpoint did not answer within its deadline."""


class EndpointRefused(EndpointError):
    """The endpoint answered with an HTTP error status."""

    def __init__(self, message: str, fix: str = "", *, status: int = 0) -> None:
        super().__init__(message, fix)
        self.status = status


class EndpointProtocolError(EndpointError):
    """The endpoint's answer is not the OpenAI chat-completions protocol."""


class HostError(Nl2CodeError):
    """The local model host could not be started, found or stopped."""


class ModelMissing(Nl2CodeError):
    """The model's file is not on this machine yet; `model` is the id that `nl2code model pull` takes."""

    def __init__(self, message: str, fix: str = "", *, model: str, size: int = 0) -> None:
        super().__init__(message, fix)
        self.model = model
        self.size = size


class ModelFileError(Nl2CodeError):
    """A model's file could not be fetched, or is not the file that it should be."""


class StoreError(Nl2CodeError):
    """The feedback store cannot be opened, read or written."""
