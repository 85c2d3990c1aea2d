"""Scrapy crawls a site of some hundred pages, which this process serves; both run on the reactor under test.

Run by test_scrapy.py as: python site.py MODULE.CLASS PAGES [LOOP], with the class of an asyncio loop. Prints the result
as one line of JSON.
"""

import asyncio
import json
import sys

import scrapy
from scrapy.crawler import CrawlerProcess

REACTOR, PAGES, LOOP = sys.argv[1], int(sys.argv[2]), sys.argv[3:]


class Numbers(scrapy.Spider):
    """Follows every link, and collects what the pages say."""

    name = "numbers"
    found = {}

    async def start(self):
        self.port = site(PAGES)
        yield scrapy.Request(f"http://127.0.0.1:{self.port.getHost().port}/0")

    def closed(self, reason):
        return self.port.stopListening()

    async def parse(self, response):
        if LOOP:
            await asyncio.sleep(0.001)
        number = int(response.css("h1::text").get())
        self.found[number] = response.css("p::text").get()
        yield {"number": number}
        for request in response.follow_all(css="a"):
            yield request


def site(pages):
    """A page for each number, with links to others. Some pages redirect, some are missing, some are slow."""
    from twisted.internet import reactor
    from twisted.web import resource, server

    class Page(resource.Resource):
        isLeaf = True

        def render_GET(self, request):
            number = int(request.path.strip(b"/") or b"0")
            if number >= pages:
                request.setResponseCode(404)
                return b"missing"
            if number % 10 == 3 and not request.args:
                request.redirect(f"/{number}?again=1".encode())
                return b""
            links = "".join(f'<a href="/{2 * number + step}">next</a>' for step in (1, 2))
            body = f"<h1>{number}</h1><p>{'word ' * number}</p>{links}".encode()
            if number % 10 != 7:
                return body
            reactor.callLater(0.02, lambda: (request.write(body), request.finish()))
            return server.NOT_DONE_YET

    return reactor.listenTCP(0, server.Site(Page()), interface="127.0.0.1")


def main():
    settings = {
        "TWISTED_REACTOR": REACTOR,
        "LOG_LEVEL": "ERROR",
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
        "DOWNLOAD_DELAY": 0,
    }
    if LOOP:
        settings["ASYNCIO_EVENT_LOOP"] = LOOP[0]
    process = CrawlerProcess(settings)
    crawler = process.create_crawler(Numbers)
    process.crawl(crawler)
    process.start()
    from twisted.internet import reactor

    statuses = {code: crawler.stats.get_value(f"downloader/response_status_count/{code}") for code in (200, 302, 404)}
    print(
        json.dumps(
            {
                "reactor": f"{type(reactor).__module__}.{type(reactor).__qualname__}",
                "loop": type(getattr(reactor, "_asyncioEventloop", None)).__name__,
                "pages": len(Numbers.found),
                "words": sum(text.count("word") for text in Numbers.found.values() if text),
                "scraped": crawler.stats.get_value("item_scraped_count"),
                "statuses": statuses,
                "reason": crawler.stats.get_value("finish_reason"),
            }
        )
    )


if __name__ == "__main__":
    main()
