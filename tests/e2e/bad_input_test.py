"""What is wrong gets one clear sentence, the right code and exit status, and leaves nothing half done."""

import socket
import unittest

import kindred


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.products = kindred.draw(products=2, views=5)
        cls.photo = cls.products / kindred.listing(cls.products, "test")[0][3]
        cls.stack = kindred.Stack("bad").up("--datasets", kindred.folder())
        cls.stack.ok("model", "init", "--name", "plain", "--image-size", 32, "--seed", 1)
        cls.stack.ok("model", "init", "--name", "other", "--image-size", 32, "--seed", 2)
        cls.stack.ok("index", cls.products, "--model", "plain", "--collection", "shop")
        cls.jobs = cls.count_jobs()

    @classmethod
    def count_jobs(cls):
        jobs = cls.stack.ok("job", "list")
        return len(jobs["jobs"] if isinstance(jobs, dict) else jobs)

    def refuse(self, args, code, status, *words):
        """The command fails, once for people and once for programs; no job was queued for it."""
        told = self.stack.run(*args)
        self.assertEqual(told.status, status, told)
        for word in words:
            self.assertIn(word, told.err)
        self.assertEqual(len(told.err.strip().splitlines()), 1, told)
        machine = self.stack.run(*args, "--json")
        self.assertEqual(machine.status, status, machine)
        self.assertEqual(machine.error["code"], code)
        self.assertEqual(self.count_jobs(), self.jobs)

    def test_no_such_folder(self):
        self.refuse(("index", "/no/such/folder", "--model", "plain", "--collection", "new"),
                    "NOT_FOUND", 1, "/no/such/folder")

    def test_a_folder_outside_the_dataset_roots(self):
        self.refuse(("index", "/usr/share", "--model", "plain", "--collection", "new"),
                    "PERMISSION_DENIED", 1, "/usr/share", str(kindred.folder()))

    def test_a_folder_without_images(self):
        empty = kindred.folder() / "empty"
        empty.mkdir(exist_ok=True)
        self.refuse(("index", empty, "--model", "plain", "--collection", "new"),
                    "NOT_FOUND", 1, str(empty))

    def test_a_wrong_listing_line_is_named(self):
        bad = kindred.folder() / "badlist"
        bad.mkdir(exist_ok=True)
        (bad / "Ebay_train.txt").write_text("image_id class_id super_class_id path\n1 1 x a.jpg\n")
        self.refuse(("index", bad, "--model", "plain", "--collection", "new"),
                    "INVALID_ARGUMENT", 2, "Ebay_train.txt:2")

    def test_an_unknown_model(self):
        self.refuse(("index", self.products, "--model", "nope", "--collection", "new"),
                    "NOT_FOUND", 1, "nope")
        self.refuse(("evaluate", self.products, "--model", "nope"), "NOT_FOUND", 1, "nope")
        self.refuse(("model", "show", "nope"), "NOT_FOUND", 1, "nope")

    def test_an_unknown_class_to_show(self):
        self.refuse(("evaluate", self.products, "--model", "plain", "--show", "mug", "--show", "nope"),
                    "NOT_FOUND", 1, "'nope'")
        self.refuse(("evaluate", self.products, "--model", "plain",
                     *("--show", "mug") * 65), "INVALID_ARGUMENT", 2, "65", "allowed are 64")

    def test_an_unknown_collection(self):
        self.refuse(("search", self.photo, "--collection", "nope"), "NOT_FOUND", 1, "nope")

    def test_a_collection_of_another_model(self):
        self.refuse(("index", self.products, "--model", "other", "--collection", "shop"),
                    "FAILED_PRECONDITION", 1, "shop")

    def test_k_out_of_range(self):
        for k in (0, 1001):
            self.refuse(("search", self.photo, "--collection", "shop", "-k", k),
                        "INVALID_ARGUMENT", 2, f"k is {k}", "1 to 1000")

    def test_a_query_that_is_no_image(self):
        broken = kindred.folder() / "broken.jpg"
        broken.write_bytes(self.photo.read_bytes()[:900])
        self.refuse(("search", broken, "--collection", "shop"), "INVALID_ARGUMENT", 2, "broken.jpg")

    def test_an_unknown_loss_and_a_bad_size(self):
        self.refuse(("train", self.products, "--loss", "magic"), "INVALID_ARGUMENT", 2, "magic")

    def test_a_weights_file_that_is_none(self):
        text = kindred.folder() / "weights.pth"
        text.write_text("these are no weights")
        self.refuse(("model", "import", text), "INVALID_ARGUMENT", 2, "weights.pth")

    def test_a_model_in_use_stays(self):
        self.refuse(("model", "rm", "plain"), "FAILED_PRECONDITION", 1, "shop")

    def test_an_unreachable_gateway(self):
        told = kindred.run("model", "list", "--gateway", f"127.0.0.1:{kindred.free_port()}")
        self.assertEqual(told.status, 3, told)

    def test_a_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            told = kindred.run_program("kindred-indexer", "--data", kindred.folder() / "lone",
                                       "--listen", address, "--http", "127.0.0.1:0")
        self.assertEqual(told.status, 1, told)
        self.assertIn(address, told.err)


if __name__ == "__main__":
    kindred.main()
