"""What tests of several rooms share: a headless browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import shutil
from typing import Any

import pytest

PATIENCE = 30.0   # [s]

OPTIONS = (
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--disable-dev-shm-usage', '--hide-scrollbars', '--force-device-scale-factor=1')


class Browser:
    """
    A page in headless Chromium.

    Attributes
    ----------
    driver : selenium.webdriver.Chrome
        For all that has no method of its own here.

    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, place: str | Path, width: int = 1280, height: int = 900) -> None:
        """Show a page, given by its address or its file, in a window of a size [px]."""
        self.resize(width, height)
        self.driver.get(Path(place).resolve().as_uri() if isinstance(place, Path) else place)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size [px]; a window cannot be as narrow as a phone."""
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
            'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False})

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a piece of JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str | Callable[[], Any], timeout: float = PATIENCE) -> Any:
        """Wait until an expression of JavaScript, or a function, is true; return its value."""
        from selenium.webdriver.support.ui import WebDriverWait

        def value(_: Any) -> Any:
            return condition() if callable(condition) else self.run(f'return {condition}')
        return WebDriverWait(self.driver, timeout, poll_frequency=0.1).until(
            value, f'never true: {condition}')

    def text(self, selector: str) -> str:
        """Text of the first element that a CSS selector finds."""
        return self.run('return document.querySelector(arguments[0]).textContent', selector)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, on whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def errors(self) -> list[str]:
        """Errors and warnings on the console since the last call."""
        return [entry['message'] for entry in self.driver.get_log('browser')
                if entry['level'] in ('SEVERE', 'WARNING')]

    def requests(self) -> list[str]:
        """Addresses of everything that the page has loaded, without the page itself."""
        return self.run('return performance.getEntriesByType("resource").map(e => e.name)')

    def screenshot(self, path: Path) -> None:
        """Save the visible part of the page as a PNG."""
        self.driver.save_screenshot(str(path))


@pytest.fixture(scope='session')
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip('selenium', reason='selenium is not installed')
    chromium = shutil.which('chromium') or shutil.which('chromium-browser')
    driver = shutil.which('chromedriver')
    if not chromium or not driver:
        pytest.skip('chromium and chromedriver are not installed')
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f'--user-data-dir={tmp_path_factory.mktemp("chromium")}'):
        options.add_argument(option)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    chrome = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver))
    chrome.set_page_load_timeout(PATIENCE)
    chrome.set_script_timeout(PATIENCE)
    yield chrome
    chrome.quit()


@pytest.fixture
def browser(_chromium: Any) -> Iterator[Browser]:
    """Headless Chromium with an empty page; the test is skipped where there is none."""
    _chromium.get('about:blank')
    page = Browser(_chromium)
    page.errors()
    yield page
    _chromium.get('about:blank')
