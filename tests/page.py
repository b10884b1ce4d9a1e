"""A page of HTML as a browser would see it, for tests."""

import base64
from html.parser import HTMLParser

import cv2
import numpy as np


class Page(HTMLParser):
    """Headings, pictures and references of a page."""

    def __init__(self):
        super().__init__()
        self.headings, self.images, self.external, self.text = [], [], [], ''
        self._in_heading = False

    def handle_starttag(self, tag, attrs):
        self._in_heading = tag in ('h1', 'h2', 'h3')
        for name, value in attrs:
            if name == 'src' and value.startswith('data:image/png;base64,'):
                data = np.frombuffer(base64.b64decode(value.partition(',')[2]), np.uint8)
                self.images.append(cv2.imdecode(data, cv2.IMREAD_COLOR))
            elif name in ('src', 'href') and not value.startswith('#'):
                self.external.append(value)

    def handle_data(self, data):
        if self._in_heading and data.strip():
            self.headings.append(data.strip())
        self.text += data

    def handle_endtag(self, tag):
        self._in_heading = False


def read_page(path):
    page = Page()
    page.feed(path.read_text())
    return page
