"""Links of the pages to files of the repository, which are not in the site: to where it is hosted.

MkDocs calls this for each page (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

_TO_REPOSITORY = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: object) -> str:
    """The text of a page whose links to files of the repository lead there."""
    home = f"{config.repo_url.rstrip('/')}/blob/main/"

    def there(link: re.Match[str]) -> str:
        return f"]({home}{posixpath.normpath(link.group(1))}"

    return _TO_REPOSITORY.sub(there, markdown)
