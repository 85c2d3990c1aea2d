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
        self.crawl(REACTORS[support.REACTOR], "NoneType")

    @support.ours_only
    def test_a_site_is_crawled_whole_with_asyncio_in_the_spider(self):
        ours = "tidewaiter.twisted.asyncioreactor.AsyncioReactor"
        for reactor in (ours, "twisted.internet.asyncioreactor.AsyncioSelectorReactor"):
            with self.subTest(reactor):
                self.crawl(reactor, "Loop", "tidewaiter.asyncio.Loop")

    def crawl(self, reactor, loop, *loop_class):
        crawl = [sys.executable, support.HERE / "scenarios" / "site.py", reactor, PAGES, *loop_class]
        finished = support.run(crawl, seconds=60)
        self.assertEqual((finished.code, finished.errors), (0, ""), finished)
        found = json.loads(finished.output)
        self.assertEqual((found.pop("reactor"), found.pop("loop")), (reactor, loop), finished)
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
