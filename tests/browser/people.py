"""Who comes, and who may do what: for the servers of these tests."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth import Authorizer, IdentityProvider, User

NAMES = {"ada": "Ada Lovelace", "bob": "Bob Ross", "carol": "Carol Shaw", "guest": "A Guest"}


class ByCookie(IdentityProvider):
    """Whoever has the token says who they are."""

    async def get_user(self, handler: Any) -> User | None:  # type: ignore[override]
        user = await super().get_user(handler)  # type: ignore[misc]
        who = handler.get_cookie("who")
        if user is None or who not in NAMES:
            return user
        initials = "".join(word[0] for word in NAMES[who].split())
        return User(who, NAMES[who], NAMES[who], initials)


class Rights(Authorizer):
    """A guest may only look."""

    def is_authorized(self, handler: Any, user: User, action: str, resource: str) -> bool:
        return user.username != "guest" or action == "read"
