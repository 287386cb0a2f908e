"""Secrets stay where the user keeps them: what a run writes, logs or prints has `***` in their place.

A run's `config.yaml` is such a text. It still loads, and whatever needs no secret works from it as it is. A
`tracking.uri` that lost its password is completed from the environment variable MLFLOW_TRACKING_URI, if that
names the same server, or replaced by an override; a `checkpoint.to` or a teacher's `source` by an override.
Nothing has to be hidden where MLflow's own variables MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and
MLFLOW_TRACKING_TOKEN, or a store's own credentials, are used.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import UserError, user_error

HIDDEN = "***"
_NAMES = "secret|token|passw|key|credential"
_NAME = re.compile(_NAMES, re.IGNORECASE)
_THEIRS = ("label_map", "arguments")
"""Sections whose keys are names of classes and arguments of networks, not ours."""
# A name and a colon before any slash make a user with a password, unless what follows is a port. A password
# may hold '/' and '@' that nobody escaped, so all up to the word's last '@' goes. With http a name alone may
# be a token; elsewhere it is a container or a version (abfss://container@account, hf://org/model@main).
_USER = re.compile(
    r"://(?:(?![/\[])[^/\s:]*:(?!\d+/)\S*|(?:(?<=http://)|(?<=https://))[^/\s:]+)@", re.IGNORECASE
)
_QUERY = re.compile(rf"([?&][^=&\s]*(?:{_NAMES}|sig)[^=&\s]*=)[^&\s'\")]+", re.IGNORECASE)


def redact(tree: Any, *, by_name: bool = True) -> Any:
    """The same mappings, lists and values without secrets.

    A value under a key that matches ``secret|token|passw|key|credential`` becomes `***`, whatever it is, but
    None and what lies in a `label_map` or in `arguments` (`by_name` false: no value does); so does in every
    text the `user:password@` part of a URL, and the value of such a key in its query.
    """
    if isinstance(tree, Mapping):
        return {
            key: HIDDEN
            if by_name and value is not None and _NAME.search(str(key))
            else redact(value, by_name=by_name and key not in _THEIRS)
            for key, value in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        return [redact(one, by_name=by_name) for one in tree]
    if isinstance(tree, str):
        return _QUERY.sub(rf"\g<1>{HIDDEN}", _USER.sub(f"://{HIDDEN}@", tree))
    return tree


def given_again(uri: str) -> str:
    """A tracking store's URI, with what `redact` took out of it put back from MLFLOW_TRACKING_URI.

    Raises:
        UserError: that variable does not name the same store.
    """
    if HIDDEN not in uri:
        return uri
    again = os.environ.get("MLFLOW_TRACKING_URI", "")
    if redact(again) != uri:
        raise UserError(
            f"tracking.uri: {uri} was written without its password; give all of it in the environment "
            f"variable MLFLOW_TRACKING_URI or by tracking.uri=..."
        )
    return again


def check_whole(uri: str, key: str) -> None:
    """That `redact` took nothing out of what stands under `key`.

    Raises:
        UserError: it did.
    """
    if f"{HIDDEN}@" in uri or f"={HIDDEN}" in uri:
        raise user_error(f"{key}: {uri} was written without its secret; give all of it by {key}=...")
