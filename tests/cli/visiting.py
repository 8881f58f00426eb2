"""A visitor of the demo, who clicks and looks in a real browser."""

from tests.cli.waiting import wait

PICTURES = "[data-testid=stImage] img, [data-testid=stImageContainer] img"
LONGEST = 120  # seconds until a page is drawn, on a busy machine


class Visitor:
    """A tab of a browser on a server."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address
        browser.switch_to.new_window("tab")
        self.tab = browser.current_window_handle

    def leave(self):
        self.here.close()
        self.browser.switch_to.window(self.browser.window_handles[0])

    @property
    def here(self):
        if self.browser.current_window_handle != self.tab:
            self.browser.switch_to.window(self.tab)
        return self.browser

    def open(self, path=""):
        self.here.get(f"{self.address}/{path}")

    def find(self, selector):
        return self.here.find_elements("xpath" if selector.startswith(("/", "(")) else "css selector", selector)

    def text(self):
        return self.find("body")[0].text

    def images(self):
        script = "return [...document.querySelectorAll(arguments[0])].map(image => image.src)"
        return self.here.execute_script(script, PICTURES)  # in one moment: the page may be drawn anew meanwhile

    def sees(self, *texts, n_images=0, but=()):
        """Wait until a page has these texts and so many pictures, and none of other texts."""
        from selenium.common.exceptions import WebDriverException

        def seen():
            text = self.text()
            return all(t in text for t in texts) and not any(t in text for t in but) and len(self.images()) >= n_images

        try:
            wait(seen, WebDriverException, LONGEST)
        except TimeoutError:
            raise AssertionError(f"{texts} and {n_images} pictures, got {len(self.images())}: {self.text()}") from None
        assert "Traceback" not in self.text()

    def click(self, selector):
        wait(lambda: self.find(selector)[0].click() or True, Exception, LONGEST)

    def press(self, button):
        self.click(f"//button[contains(., '{button}')]")

    def choose(self, label, option):
        """Choose an option of a list."""
        from selenium.webdriver import Keys

        box = f"//div[@data-testid='stSelectbox'][.//label[contains(., '{label}')]]//input"
        self.click(box)
        self.find(box)[0].send_keys(option, Keys.ENTER)

    def upload(self, path, field=1):
        """Upload a file in a field, counted from 1, once."""
        selector = f"(//input[@type='file'])[{field}]"
        wait(lambda: self.find(selector), seconds=LONGEST)
        self.find(selector)[0].send_keys(str(path))
