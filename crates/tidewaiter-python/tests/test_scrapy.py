"""Scrapy, unchanged, runs on the reactor that its setting names."""

import json
import sys
import unittest

import support

PAGES = 300
REACTORS = {"tidewaiter": "tidewaiter.twisted.Reactor", "epoll": "twisted.internet.epollreactor.EPollReactor"}


@support.needs_posix
@unittest.skipUnless(support.REACTOR in REACTORS, "no name for this reactor that Scrapy knows")
class Scrapy(unittest.TestCase):
    maxDiff = None

    def test_a_site_is_crawled_whole(self):
        crawl = [sys.executable, support.HERE / "scenarios" / "site.py", REACTORS[support.REACTOR], PAGES]
        finished = support.run(crawl, seconds=60)
        self.assertEqual((finished.code, finished.errors), (0, ""), finished)
        found = json.loads(finished.output)
        self.assertTrue(found.pop("reactor").startswith(REACTORS[support.REACTOR].rpartition(".")[0]), finished)
        # One other page links to each page, and each page has two links. One page in ten redirects.
        expected = {
            "pages": PAGES,
            "words": PAGES * (PAGES - 1) // 2,
            "scraped": PAGES,
            "statuses": {"200": PAGES, "302": PAGES // 10, "404": PAGES + 1},
            "reason": "finished",
        }
        self.assertEqual(found, expected)


if __name__ == "__main__":
    unittest.main()
