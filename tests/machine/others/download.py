"""Downloads a list of URLs with img2dataset as people do, without resizing, and prints url and SHA-256 of what it kept."""
import json, pathlib, sys, tarfile, img2dataset

if __name__ == "__main__":
    urls, output = sys.argv[1:]
    img2dataset.download(
        url_list=urls, output_folder=output, input_format="txt", output_format="webdataset", resize_mode="no",
        disable_all_reencoding=True, compute_hash="sha256", processes_count=1, thread_count=32, timeout=5, retries=1)
    for shard in sorted(pathlib.Path(output).glob("*.tar")):
        with tarfile.open(shard) as members:
            for member in members:
                if member.name.endswith(".json"):
                    sample = json.load(members.extractfile(member))
                    print("kept", sample["url"], sample["sha256"])
