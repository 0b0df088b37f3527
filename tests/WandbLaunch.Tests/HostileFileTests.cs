using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.Data.Sqlite;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>Files as weapons: too large, cut, lying, twice, killed in the middle, on a disk that is full.</summary>
// MD5 is W&B's checksum of a file, not a protection.
#pragma warning disable CA5351
public sealed class HostileFileTests
{
    internal const long Megabyte = 1 << 20;
    internal static readonly RunPath Run = new("local", "files", "files001");
    private static readonly string Route = "/files/local/files/files001/";

    internal static async Task<WandbConnection> ConnectAsync(string url)
    {
        var connection = await FileServer.ConnectAsync(url);
        await connection.Api.UpsertProjectAsync(Run.Entity, Run.Project, default);
        await connection.Api.UpsertRunAsync(new RunUpsert(Run.Id, Run.Entity, Run.Project), default);
        return connection;
    }

    internal static string NewDatabase(string name) => Path.Combine(Fixture.NewFolder(name), "own.db");

    private static string[] Stored(string database) =>
        [
            .. Directory
                .EnumerateFiles(database + ".files", "*", SearchOption.AllDirectories)
                .Select(f => Path.GetRelativePath(database + ".files", f)),
        ];

    private static string Digest(byte[] content) =>
        $"Repr-Digest: sha-256=:{Convert.ToBase64String(SHA256.HashData(content))}:";

    private static byte[] Bytes(int length, int seed = 1)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    internal static string Md5(Stream content)
    {
        using (content)
        {
            return Convert.ToBase64String(MD5.HashData(content));
        }
    }

    private static async Task<byte[]> GetAsync(string url, string name) =>
        (await RawHttp.SendAsync(url, RawHttp.Head("GET", Route + name, url))).Body;

    private static Task<(int Status, string Head, byte[] Body)> PutAsync(
        string url,
        string path,
        byte[] body,
        params string[] headers
    ) => RawHttp.SendAsync(url, RawHttp.Head("PUT", path, url, [$"Content-Length: {body.Length}", .. headers]), body);

    private static Task<(int Status, string Head, byte[] Body)> AskAsync(
        string url,
        string path,
        long total,
        params string[] headers
    ) => PutAsync(url, path, [], [$"Content-Range: bytes */{total}", .. headers]);

    [Fact]
    public async Task An_upload_that_was_cut_goes_on_at_the_byte_where_it_stopped()
    {
        var database = NewDatabase("cut");
        await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        var content = Bytes(3_000_000);
        foreach (var headers in new[] { new[] { Digest(content) }, [] })
        {
            var path = Route + "cut" + headers.Length;
            await RawHttp.SendAndLeaveAsync(
                server.Url,
                RawHttp.Head(
                    "PUT",
                    path,
                    server.Url,
                    [$"Content-Length: {content.Length}", $"Content-Range: bytes 0-2999999/3000000", .. headers]
                ),
                content[..2_000_000]
            );
            var (status, head, _) = await AskAsync(server.Url, path, content.Length, headers);

            // What came before the cut may still be being written.
            for (var i = 0; RawHttp.Header(head, "Range") != "bytes=0-1999999" && i < 100; i++)
            {
                await Task.Delay(50);
                (status, head, _) = await AskAsync(server.Url, path, content.Length, headers);
            }

            Assert.Equal((308, "bytes=0-1999999"), (status, RawHttp.Header(head, "Range")));
            Assert.Equal(404, (await RawHttp.SendAsync(server.Url, RawHttp.Head("GET", path, server.Url))).Status);

            // A part that begins earlier than what is there counts from there on.
            (status, head, _) = await PutAsync(
                server.Url,
                path,
                content[1_900_000..2_500_000],
                ["Content-Range: bytes 1900000-2499999/3000000", .. headers]
            );
            Assert.Equal((308, "bytes=0-2499999"), (status, RawHttp.Header(head, "Range")));
            (status, _, _) = await PutAsync(
                server.Url,
                path,
                content[2_500_000..],
                ["Content-Range: bytes 2500000-2999999/3000000", .. headers]
            );
            Assert.Equal(200, status);
            Assert.Equal(content, await GetAsync(server.Url, "cut" + headers.Length));
        }

        // The last answer may be what was lost: with its digest, a whole file is known as such.
        Assert.Equal(200, (await AskAsync(server.Url, Route + "cut1", content.Length, Digest(content))).Status);
        Assert.Equal(308, (await AskAsync(server.Url, Route + "cut1", content.Length)).Status);

        // Sent whole and cut: nothing stays.
        await RawHttp.SendAndLeaveAsync(
            server.Url,
            RawHttp.Head("PUT", Route + "whole", server.Url, $"Content-Length: {content.Length}"),
            content[..2_000_000]
        );
        for (var i = 0; Stored(database).Length > 1; i++)
        {
            Assert.True(i < 100, string.Join(", ", Stored(database)));
            await Task.Delay(50);
        }

        Assert.Equal(
            404,
            (await RawHttp.SendAsync(server.Url, RawHttp.Head("GET", Route + "whole", server.Url))).Status
        );
    }

    [Fact]
    public async Task Our_client_passes_a_line_that_breaks_again_and_again_without_beginning_anew()
    {
        await using var server = await LaunchServer.StartAsync(NewDatabase("line"), "127.0.0.1", 0, Fixture.Key);
        using var line = new BreakingLine(server.Url, 6 * Megabyte, 12);
        using var connection = await ConnectAsync(line.Url);
        const long Size = 40 * Megabyte;
        await connection.Api.UploadFilesAsync(Run, [("large.bin", () => new Pattern(Size, 3))], default);
        Assert.InRange(line.CutsLeft, 4, 8);
        Assert.InRange(line.Passed, Size, Size * 3 / 2);
    }

    [Fact]
    public async Task A_server_that_is_killed_in_the_middle_of_an_upload_goes_on_with_it_after_its_start()
    {
        var database = NewDatabase("killed");
        using var first = new FileServer(database);
        using var line = new BreakingLine(first.Url, long.MaxValue, 0);
        using var connection = await ConnectAsync(line.Url);
        var said = new List<string>();
        connection.Transport.OnRetry = said.Add;
        const long Size = 120 * Megabyte;
        var upload = connection.Api.UploadFilesAsync(
            Run,
            [("large.bin", () => new Pattern(Size, 4) { Rate = 40 * Megabyte })],
            default
        );
        var temporary = Path.Combine(database + ".files", "tmp");
        for (var i = 0; !new DirectoryInfo(temporary).EnumerateFiles().Any(f => f.Length > 30 * Megabyte); i++)
        {
            Assert.True(i < 600 && !upload.IsCompleted, "the upload never came to its middle");
            await Task.Delay(100);
        }

        first.Kill();
        await File.WriteAllTextAsync(Path.Combine(temporary, "abandoned"), "of a request that is no more");
        using var second = new FileServer(database, first.Port);
        await upload;
        Assert.Contains(said, s => s.Contains("going on", StringComparison.Ordinal));
        var file = Assert.Single(await connection.Api.FilesAsync(Run, ["large.bin"], default));
        Assert.Equal(Md5(new Pattern(Size, 4)), file.Md5);
        Assert.Single(Stored(database));

        // What came before the kill was not sent again, but for what was in the sockets.
        Assert.InRange(line.Passed, Size, Size + 20 * Megabyte);
    }

    [Fact]
    public async Task What_a_stopped_download_left_is_gone_on_with_and_never_trusted()
    {
        await using var server = await LaunchServer.StartAsync(NewDatabase("stopped"), "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        const long Size = 30 * Megabyte;
        await connection.Api.UploadFilesAsync(Run, [("large.bin", () => new Pattern(Size, 5))], default);
        var folder = Fixture.NewFolder("stopped-out");
        string? Part() => Directory.GetFiles(folder, ".*.part").SingleOrDefault();

        async Task StopInTheMiddleAsync()
        {
            // One cut, and a client that does not try again.
            using var line = new BreakingLine(server.Url, 10 * Megabyte, 1);
            var settings = WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, line.Url, Fixture.Key) with
            {
                NoRetry = true,
            };
            using var client = await WandbConnection.OpenAsync(settings, null, default);
            var file = Assert.Single(await client.Api.FilesAsync(Run, ["large.bin"], default));
            var error = await Assert.ThrowsAsync<LaunchException>(() =>
                client.Api.SaveFileAsync(file, folder, default)
            );
            Assert.Contains(error.ErrorId, new[] { "TransferCut", "ConnectionFailed" });
            Assert.InRange(new FileInfo(Part()!).Length, Megabyte, Size - 1);
        }

        await StopInTheMiddleAsync();
        Assert.False(File.Exists(Path.Combine(folder, "large.bin")));
        using (var line = new BreakingLine(server.Url, long.MaxValue, 0))
        using (var client = await FileServer.ConnectAsync(line.Url))
        {
            var file = Assert.Single(await client.Api.FilesAsync(Run, ["large.bin"], default));
            await client.Api.SaveFileAsync(file, folder, default);
            Assert.InRange(line.Passed, 1, 25 * Megabyte);
        }

        Assert.Equal(Md5(new Pattern(Size, 5)), Md5(File.OpenRead(Path.Combine(folder, "large.bin"))));
        Assert.Null(Part());

        // Another content under the same name, of the same and of a greater length.
        foreach (var extra in new[] { 0, 1, (int)Size })
        {
            await StopInTheMiddleAsync();
            await using (var part = new FileStream(Part()!, FileMode.Open))
            {
                await part.WriteAsync("not what the server sent"u8.ToArray());
                part.SetLength(extra == 0 ? part.Length : Size + extra - 1);
            }

            var file = Assert.Single(await connection.Api.FilesAsync(Run, ["large.bin"], default));
            await connection.Api.SaveFileAsync(file, folder, default);
            Assert.Equal(Md5(new Pattern(Size, 5)), Md5(File.OpenRead(Path.Combine(folder, "large.bin"))));
            Assert.Null(Part());
        }
    }

    [Fact]
    public async Task Content_that_is_not_what_its_digest_says_is_refused_and_nothing_of_it_stays()
    {
        var database = NewDatabase("digest");
        await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        var (good, bad) = (Bytes(100_000), Bytes(100_000, 2));
        Assert.Equal(200, (await PutAsync(server.Url, Route + "a", good, Digest(good))).Status);
        var md5 = $"Content-MD5: {Convert.ToBase64String(MD5.HashData(good))}";
        var blob = "/artifacts/local/" + Convert.ToHexString(MD5.HashData(good));
        foreach (
            var (path, headers) in new (string, string[])[]
            {
                (Route + "a", [Digest(good)]),
                (Route + "a", [md5]),
                (Route + "a", ["Content-MD5: nonsense"]),
                (Route + "a", [Digest(good), "Content-Range: bytes 0-99999/100000"]),
                (blob, []),
                (blob, ["Content-Range: bytes 0-99999/100000"]),
                (blob, [$"Content-MD5: {Convert.ToBase64String(MD5.HashData(bad))}"]),
            }
        )
        {
            var (status, _, body) = await PutAsync(server.Url, path, bad, headers);
            Assert.Equal(422, status);
            using var answer = JsonDocument.Parse(body);
            Assert.Equal("UploadDamaged", answer.RootElement.Text("id"));
            Assert.Single(Stored(database));
        }

        Assert.Equal(400, (await PutAsync(server.Url, Route + "a", good, "Repr-Digest: sha-256=:AAAA:")).Status);
        Assert.Equal(good, await GetAsync(server.Url, "a"));
        Assert.Equal(404, (await RawHttp.SendAsync(server.Url, RawHttp.Head("GET", blob, server.Url))).Status);

        // A source that changes while our client sends it.
        var error = await Assert.ThrowsAsync<LaunchException>(() =>
            connection.Api.UploadFilesAsync(Run, [("b", () => new Changing(new Pattern(10 * Megabyte, 6)))], default)
        );
        Assert.Equal("FileDamaged", error.ErrorId);
        Assert.Single(Stored(database));
    }

    [Fact]
    public async Task Lies_about_the_part_are_refused()
    {
        var database = NewDatabase("lies");
        await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        var part = Bytes(100);
        foreach (
            var range in new[]
            {
                "bytes 5-1/100",
                "bytes 0-99/50",
                "bytes 0-98/1000",
                "bytes 0-100/1000",
                "bytes 0-99/*",
                "bytes */*",
                "bytes -1-98/1000",
                "bytes 0-99999999999999999999999/1000",
                "bytes 0-99/99999999999999999999999",
                "items 0-99/1000",
                "0-99/1000",
                "nonsense",
                "bytes 0-99/1000, bytes 100-199/1000",
            }
        )
        {
            var (status, _, body) = await PutAsync(server.Url, Route + "x", part, "Content-Range: " + range);
            Assert.True(status == 400, $"{range}: {status}");
            Assert.Contains("UploadRangeInvalid", Encoding.UTF8.GetString(body), StringComparison.Ordinal);
        }

        // More room than any disk has.
        Assert.Equal(
            507,
            (await PutAsync(server.Url, Route + "x", part, "Content-Range: bytes 0-99/9000000000000000000")).Status
        );

        // Beyond what is there: at first, and in the middle; a total that changes is another upload.
        var (gap, _, reason) = await PutAsync(server.Url, Route + "x", part, "Content-Range: bytes 100-199/1000");
        Assert.Equal(416, gap);
        Assert.Contains("0 bytes are here", Encoding.UTF8.GetString(reason), StringComparison.Ordinal);
        Assert.Empty(Stored(database));
        Assert.Equal(308, (await PutAsync(server.Url, Route + "x", part, "Content-Range: bytes 0-99/1000")).Status);
        Assert.Equal(416, (await PutAsync(server.Url, Route + "x", part, "Content-Range: bytes 101-200/1000")).Status);
        Assert.Equal(416, (await PutAsync(server.Url, Route + "x", part, "Content-Range: bytes 100-199/200")).Status);
        Assert.Equal(416, (await PutAsync(server.Url, Route + "x", part, "Content-Range: bytes 100-199/2000")).Status);

        // A total smaller than what is there ends as the file that it says, and the other goes on as it was.
        Assert.Equal(200, (await PutAsync(server.Url, Route + "x", part[..50], "Content-Range: bytes 0-49/50")).Status);
        Assert.Equal(part[..50], await GetAsync(server.Url, "x"));
        Assert.Equal("bytes=0-99", RawHttp.Header((await AskAsync(server.Url, Route + "x", 1000)).Head, "Range"));

        // A body longer than its range, in chunks that say no length.
        var chunked = RawHttp.Head(
            "PUT",
            Route + "y",
            server.Url,
            "Transfer-Encoding: chunked",
            "Content-Range: bytes 0-9/1000"
        );
        Assert.Equal(
            400,
            (
                await RawHttp.SendAsync(
                    server.Url,
                    chunked,
                    Encoding.ASCII.GetBytes("14\r\n01234567890123456789\r\n0\r\n\r\n")
                )
            ).Status
        );
        Assert.Null(RawHttp.Header((await AskAsync(server.Url, Route + "y", 1000)).Head, "Range"));

        // Another run's upload is not this one's, nor is a missing run's.
        Assert.Null(RawHttp.Header((await AskAsync(server.Url, Route + "z", 1000)).Head, "Range"));
        Assert.Equal(404, (await AskAsync(server.Url, "/files/local/files/nothere0/x", 1000)).Status);
    }

    [Fact]
    public async Task Parts_in_any_order_end_in_the_right_content_or_in_none()
    {
        var database = NewDatabase("order");
        await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        var seed = Random.Shared.Next();
        var random = new Random(seed);
        using var client = new HttpClient();
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key))
        );
        for (var round = 0; round < 60; round++)
        {
            var content = Bytes(random.Next(1, 5000), random.Next());
            var digest = random.Next(2) == 0;
            var name = $"f{round}";
            var expected = 0;
            for (var step = 0; step < 12; step++)
            {
                var from = random.Next(3) == 0 ? random.Next(content.Length) : Math.Min(expected, content.Length - 1);
                var to = random.Next(from, content.Length);
                using var request = new HttpRequestMessage(HttpMethod.Put, server.Url + Route + name)
                {
                    Content = new ByteArrayContent(content[from..(to + 1)]),
                };
                request.Content.Headers.ContentRange = new ContentRangeHeaderValue(from, to, content.Length);
                if (digest)
                {
                    request.Headers.TryAddWithoutValidation("Repr-Digest", Digest(content)["Repr-Digest: ".Length..]);
                }

                using var response = await client.SendAsync(request);
                var status = (int)response.StatusCode;
                if (from > expected)
                {
                    Assert.True(status == 416, $"seed {seed}, round {round}: {status}");
                    continue;
                }

                expected = from == 0 ? to + 1 : Math.Max(expected, to + 1);
                Assert.True(
                    status == (expected == content.Length ? 200 : 308),
                    $"seed {seed}, round {round}: {status}"
                );
                if (status == 200)
                {
                    Assert.Equal(content, await GetAsync(server.Url, name));
                    break;
                }
            }
        }
    }

    [Fact]
    public async Task Ranges_of_a_download_are_served_or_refused_but_never_more_than_the_file()
    {
        await using var server = await LaunchServer.StartAsync(NewDatabase("ranges"), "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        var content = Bytes(1000);
        await PutAsync(server.Url, Route + "x", content);
        async Task<(int Status, string Head, byte[] Body)> Get(params string[] headers) =>
            await RawHttp.SendAsync(server.Url, RawHttp.Head("GET", Route + "x", server.Url, headers));

        var (status, head, body) = await Get();
        Assert.Equal(
            (200, "1000", "bytes"),
            (status, RawHttp.Header(head, "Content-Length"), RawHttp.Header(head, "Accept-Ranges"))
        );
        Assert.Equal(
            ("attachment", "application/octet-stream", "nosniff"),
            (
                RawHttp.Header(head, "Content-Disposition"),
                RawHttp.Header(head, "Content-Type"),
                RawHttp.Header(head, "X-Content-Type-Options")
            )
        );
        Assert.Equal(content, body);
        var tag = RawHttp.Header(head, "ETag")!;
        Assert.Equal($"\"{Convert.ToHexString(SHA256.HashData(content)).ToLowerInvariant()}\"", tag);

        foreach (
            var (range, first, last) in new[]
            {
                ("bytes=0-9", 0, 9),
                ("bytes=990-", 990, 999),
                ("bytes=-10", 990, 999),
                ("bytes=-5000", 0, 999),
                ("bytes=990-99999999", 990, 999),
            }
        )
        {
            (status, head, body) = await Get("Range: " + range, "If-Range: " + tag);
            Assert.Equal((206, $"bytes {first}-{last}/1000"), (status, RawHttp.Header(head, "Content-Range")));
            Assert.Equal(content[first..(last + 1)], body);
        }

        foreach (var range in new[] { "bytes=1000-", "bytes=1000-2000", "bytes=9223372036854775807-" })
        {
            (status, head, body) = await Get("Range: " + range);
            Assert.Equal((416, "bytes */1000"), (status, RawHttp.Header(head, "Content-Range")));
            Assert.Empty(body);
        }

        // What is no range, or several: the file, once.
        foreach (
            var range in new[]
            {
                "bytes=9-0",
                "bytes=--1",
                "bytes=a-b",
                "bytes=99999999999999999999999-",
                "bytes=0-9,5-20",
                "bytes=" + string.Join(",", Enumerable.Repeat("0-", 1000)),
            }
        )
        {
            (status, _, body) = await Get("Range: " + range);
            Assert.True(status is 200 or 416, $"{range}: {status}");
            Assert.True(status == 416 || body.SequenceEqual(content), range);
        }

        // Of another content: whole.
        Assert.Equal(200, (await Get("Range: bytes=0-9", "If-Range: \"other\"")).Status);
        Assert.Equal(304, (await Get("If-None-Match: " + tag)).Status);
    }

    [Fact]
    public async Task Content_is_kept_once_and_goes_with_the_last_that_names_it()
    {
        var database = NewDatabase("once");
        await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        var (a, b) = (Bytes(50_000), Bytes(50_000, 2));
        foreach (var name in new[] { "a1", "a2", "sub/a3" })
        {
            await PutAsync(server.Url, Route + name, a);
        }

        await PutAsync(server.Url, Route + "b", b);
        Assert.Equal(2, Stored(database).Length);
        if (!OperatingSystem.IsWindows())
        {
            foreach (
                var path in Directory.EnumerateFileSystemEntries(database + ".files", "*", SearchOption.AllDirectories)
            )
            {
                Assert.Equal(
                    UnixFileMode.None,
                    File.GetUnixFileMode(path)
                        & ~(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute)
                );
            }
        }

        async Task DeleteAsync(params string[] names)
        {
            var data = await connection.Transport.QueryAsync(
                "F",
                "query F { project(name: \"files\", entityName: \"local\") { run(name: \"files001\") { id files { edges { node { id name } } } } } }",
                null,
                default
            );
            await connection.Transport.QueryAsync(
                "D",
                "mutation D($files: [ID!]!) { deleteFiles(input: {files: $files}) { success } }",
                new
                {
                    files = data.Items("project", "run", "files", "edges")
                        .Where(e => names.Contains(e.Text("node", "name")))
                        .Select(e => e.Text("node", "id")),
                },
                default
            );
        }

        await DeleteAsync("a1", "sub/a3");
        Assert.Equal(2, Stored(database).Length);
        Assert.Equal(a, await GetAsync(server.Url, "a2"));

        // Replaced: the old content goes; a download that has begun still ends.
        using var client = new HttpClient();
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key))
        );
        var large = Bytes(30_000_000, 3);
        await PutAsync(server.Url, Route + "a2", large);
        Assert.Equal(2, Stored(database).Length);
        using var begun = await client.GetAsync(
            new Uri(server.Url + Route + "a2"),
            HttpCompletionOption.ResponseHeadersRead
        );
        await DeleteAsync("a2");
        Assert.Single(Stored(database));
        Assert.Equal(large, await begun.Content.ReadAsByteArrayAsync());

        await connection.Transport.QueryAsync(
            "DeleteRun",
            "mutation DeleteRun($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }",
            new { id = Convert.ToBase64String(Encoding.UTF8.GetBytes("Run:v1:files001:files:local")) },
            default
        );
        Assert.Empty(Stored(database));
    }

    [Fact]
    public async Task Two_uploads_of_one_name_at_once_end_as_one_of_them()
    {
        var database = NewDatabase("both");
        await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        using var other = await ConnectAsync(server.Url);
        for (var i = 0; i < 5; i++)
        {
            var (one, two) = (20 + i * 2, 21 + i * 2);
            await Task.WhenAll(
                connection.Api.UploadFilesAsync(Run, [("same", () => new Pattern(12 * Megabyte, one))], default),
                other.Api.UploadFilesAsync(Run, [("same", () => new Pattern(12 * Megabyte, two))], default),
                PutAsync(server.Url, Route + "same", Bytes(5_000_000, i))
            );
            var file = Assert.Single(await connection.Api.FilesAsync(Run, ["same"], default));
            Assert.Contains(
                file.Md5,
                new[]
                {
                    Md5(new Pattern(12 * Megabyte, one)),
                    Md5(new Pattern(12 * Megabyte, two)),
                    Md5(new MemoryStream(Bytes(5_000_000, i))),
                }
            );
            Assert.Equal(file.Md5, Md5(new MemoryStream(await GetAsync(server.Url, "same"))));
            Assert.Single(Stored(database));
        }

        // The very same content by two clients is one upload, of which both see the end.
        await Task.WhenAll(
            connection.Api.UploadFilesAsync(Run, [("same", () => new Pattern(12 * Megabyte, 40))], default),
            other.Api.UploadFilesAsync(Run, [("same", () => new Pattern(12 * Megabyte, 40))], default)
        );
        Assert.Equal(Md5(new Pattern(12 * Megabyte, 40)), Md5(new MemoryStream(await GetAsync(server.Url, "same"))));
    }

    [Fact]
    public async Task No_name_of_a_file_becomes_a_path_on_the_server()
    {
        var root = Fixture.NewFolder("names");
        var database = Path.Combine(root, "inner", "own.db");
        await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        var content = "a name is a key"u8.ToArray();
        foreach (
            var name in new[]
            {
                "../../../../escaped",
                "..",
                "%2e%2e/%2e%2e/escaped",
                "..%2f..%2fescaped",
                "a/..%5c..%5cescaped",
                "/etc/escaped",
                "%2Fetc%2Fescaped",
                "C:%5Cescaped",
                "%00escaped",
                "a%0Ab",
                "a%00",
                new string('n', 1025),
                string.Concat(Enumerable.Repeat("deep/", 400)),
            }
        )
        {
            var (status, _, _) = await PutAsync(server.Url, Route + name, content);
            Assert.True(status is 200 or 400 or 404 or 405, $"{name}: {status}");
        }

        // Whatever was taken is content under its hash, and nothing is anywhere else.
        Assert.All(Stored(database), f => Assert.Matches("^[0-9a-f]{2}.[0-9a-f]{2}.[0-9a-f]{64}$", f));
        Assert.Equal(["inner"], Directory.EnumerateFileSystemEntries(root).Select(Path.GetFileName));
        Assert.False(File.Exists("/etc/escaped"));
        foreach (var name in new[] { "a%0Ab", new string('n', 1025), "a/..%5c..%5cescaped" })
        {
            Assert.Equal(400, (await PutAsync(server.Url, Route + name, content)).Status);
        }

        // Names that differ in case are two files.
        await PutAsync(server.Url, Route + "Case.txt", [1]);
        await PutAsync(server.Url, Route + "case.TXT", [2]);
        Assert.Equal([1], await GetAsync(server.Url, "Case.txt"));
        Assert.Equal([2], await GetAsync(server.Url, "case.TXT"));

        // No name of the store itself is served.
        var stored = Stored(database)[0].Replace('\\', '/');
        foreach (var path in new[] { "/own.db", "/own.db.files/" + stored, "/artifacts/local/..%2f..%2fown.db" })
        {
            var answer = await RawHttp.SendAsync(server.Url, RawHttp.Head("GET", path, server.Url));
            Assert.False(answer.Body.AsSpan().StartsWith("SQLite"u8) || answer.Body.SequenceEqual(content), path);
        }
    }

    [Fact]
    public async Task A_full_disk_is_said_and_leaves_nothing_half_written()
    {
        Assert.SkipUnless(
            OperatingSystem.IsLinux() && Environment.UserName == "root",
            "mounts a small file system, which only root may"
        );
        var mount = Fixture.NewFolder("full");
        using (var process = Process.Start("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", mount]))
        {
            await process.WaitForExitAsync();
            Assert.SkipUnless(process.ExitCode == 0, "mount is not allowed here");
        }

        try
        {
            var database = Path.Combine(mount, "own.db");
            await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
            using var connection = await ConnectAsync(server.Url);
            await PutAsync(server.Url, Route + "kept", [1, 2, 3]);
            var large = Bytes(40_000_000);

            // Known before: refused at once, and our client does not try twenty times.
            var clock = Stopwatch.StartNew();
            foreach (var name in new[] { "kept", "new" })
            {
                var error = await Assert.ThrowsAsync<LaunchException>(() =>
                    connection.Api.UploadFilesAsync(Run, [(name, () => new Pattern(40_000_000, 7))], default)
                );
                Assert.Equal(
                    ("ServerDiskFull", LaunchErrorCategory.ResourceUnavailable),
                    (error.ErrorId, error.Category)
                );
            }

            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), clock.Elapsed.ToString());

            // Not known before: the disk itself says so.
            using var client = new HttpClient();
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
                "Basic",
                Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key))
            );
            foreach (var name in new[] { "kept", "new" })
            {
                using var request = new HttpRequestMessage(HttpMethod.Put, server.Url + Route + name)
                {
                    Content = new StreamContent(new MemoryStream(large)),
                };
                request.Headers.TransferEncodingChunked = true;
                try
                {
                    using var response = await client.SendAsync(request);
                    Assert.Equal(HttpStatusCode.InsufficientStorage, response.StatusCode);
                    using var answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
                    Assert.Equal("StorageFull", answer.RootElement.Text("id"));
                }
                catch (HttpRequestException)
                {
                    // The server answered and closed while the rest was still being sent.
                }

                for (var i = 0; Stored(database).Length > 1; i++)
                {
                    Assert.True(i < 100, string.Join(", ", Stored(database)));
                    await Task.Delay(50);
                }
            }

            // Filled by somebody else, in the middle of parts.
            var half = Bytes(4_000_000, 8);
            Assert.Equal(
                308,
                (await PutAsync(server.Url, Route + "parts", half, "Content-Range: bytes 0-3999999/8000000")).Status
            );
            await using (var filler = File.Create(Path.Combine(mount, "filler")))
            {
                try
                {
                    while (true)
                    {
                        await filler.WriteAsync(new byte[1 << 16]);
                        await filler.FlushAsync();
                    }
                }
                catch (IOException)
                {
                    // Full.
                }
            }

            var (status, _, body) = await PutAsync(
                server.Url,
                Route + "parts",
                half,
                "Content-Range: bytes 4000000-7999999/8000000"
            );
            Assert.Equal(507, status);
            Assert.Contains("StorageFull", Encoding.UTF8.GetString(body), StringComparison.Ordinal);
            Assert.Single(Stored(database));
            Assert.Equal([1, 2, 3], await GetAsync(server.Url, "kept"));

            // With room, everything goes on.
            File.Delete(Path.Combine(mount, "filler"));
            Assert.Equal(200, (await PutAsync(server.Url, Route + "kept", [4])).Status);
            Assert.Equal([4], await GetAsync(server.Url, "kept"));
            Assert.Single(Stored(database));
        }
        finally
        {
            using var process = Process.Start("umount", ["-l", mount]);
            await process.WaitForExitAsync();
        }
    }

    [Fact]
    public async Task A_database_of_before_is_served_at_once_moved_in_the_background_and_survives_kills_in_the_middle()
    {
        const int Count = 150;
        var database = NewDatabase("older");
        var contents = Enumerable.Range(0, Count).Select(i => Bytes(i % 10 == 0 ? 0 : 300_000 + i, i / 2)).ToArray();
        Older(database, contents);
        var before = new FileInfo(database).Length;
        SqliteConnection Look()
        {
            var connection = new SqliteConnection($"Data Source={database};Pooling=false");
            connection.Open();
            return connection;
        }

        long Left()
        {
            using var connection = Look();
            using var command = connection.CreateCommand();
            command.CommandText =
                "SELECT (SELECT COUNT(*) FROM files WHERE hash IS NULL) + (SELECT COUNT(*) FROM blobs WHERE hash IS NULL)";
            try
            {
                return (long)command.ExecuteScalar()!;
            }
            catch (SqliteException e) when (e.Message.Contains("no such column", StringComparison.Ordinal))
            {
                return 2 * Count;
            }
        }

        async Task AllAreRightAsync(string url)
        {
            for (var i = 0; i < Count; i++)
            {
                Assert.Equal(contents[i], await GetAsync(url, $"f{i}"));
                var blob = "/artifacts/local/" + Convert.ToHexString(MD5.HashData(contents[i])).ToLowerInvariant();
                Assert.Equal(contents[i], (await RawHttp.SendAsync(url, RawHttp.Head("GET", blob, url))).Body);
            }
        }

        var last = long.MaxValue;
        var kills = 0;
        for (; kills < 3; kills++)
        {
            using var server = new FileServer(database);
            var until = Math.Min(last, 2 * Count) - 40;
            for (var i = 0; Left() > Math.Max(until, 1); i++)
            {
                Assert.True(i < 3000, "nothing is moved");
                await Task.Delay(5);
            }

            server.Kill();
            Assert.True(Left() < last, "nothing went on");
            last = Left();

            // Every row has its content: in the database, or in a whole file.
            using var connection = Look();
            using var command = connection.CreateCommand();
            command.CommandText = "SELECT name, size, length(content), hash FROM files";
            using var reader = command.ExecuteReader();
            while (reader.Read())
            {
                if (reader.IsDBNull(3))
                {
                    Assert.Equal(reader.GetInt64(1), reader.GetInt64(2));
                }
                else
                {
                    var hash = reader.GetString(3);
                    var path = Path.Combine(database + ".files", hash[..2], hash[2..4], hash);
                    Assert.Equal(
                        hash,
                        Convert.ToHexString(SHA256.HashData(await File.ReadAllBytesAsync(path))).ToLowerInvariant()
                    );
                }
            }
        }

        using (var server = new FileServer(database))
        {
            await AllAreRightAsync(server.Url);
            for (var i = 0; Left() > 0 || new FileInfo(database).Length > before / 4; i++)
            {
                Assert.True(i < 600, $"{Left()} are left, {new FileInfo(database).Length} of {before} bytes");
                await Task.Delay(100);
            }

            await AllAreRightAsync(server.Url);
            server.Kill();
        }

        // What kills left behind is swept, and so is content that no row names.
        var orphan = Path.Combine(database + ".files", "ab", "cd", "abcd" + new string('0', 60));
        Directory.CreateDirectory(Path.GetDirectoryName(orphan)!);
        await File.WriteAllTextAsync(orphan, "of a crash between file and row");
        await using (var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key))
        {
            for (var i = 0; File.Exists(orphan); i++)
            {
                Assert.True(i < 200, "the orphan stays");
                await Task.Delay(50);
            }

            await AllAreRightAsync(server.Url);
        }

        Assert.Equal(
            contents.Select(c => Convert.ToHexString(SHA256.HashData(c)).ToLowerInvariant()).Distinct().Order(),
            Stored(database).Select(f => Path.GetFileName(f)!).Order()
        );
    }

    // A server that was killed when all was moved, and before it gave the space back, leaves just this.
    [Fact]
    public async Task Space_that_a_killed_server_did_not_give_back_is_given_back_at_the_next_start()
    {
        var database = NewDatabase("emptied");
        await using (await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key)) { }

        using (var connection = new SqliteConnection($"Data Source={database};Pooling=false"))
        {
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText =
                "CREATE TABLE moved (content BLOB); INSERT INTO moved VALUES (zeroblob(20000000)); DROP TABLE moved; PRAGMA wal_checkpoint(TRUNCATE);";
            command.ExecuteNonQuery();
        }

        Assert.True(new FileInfo(database).Length > 20_000_000);
        await using var server = await LaunchServer.StartAsync(database, "127.0.0.1", 0, Fixture.Key);
        for (var i = 0; new FileInfo(database).Length > 5_000_000; i++)
        {
            Assert.True(i < 300, $"{new FileInfo(database).Length} bytes");
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public async Task The_console_of_a_run_that_has_ended_is_its_output_log()
    {
        await using var server = await LaunchServer.StartAsync(NewDatabase("console"), "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        var lines = Enumerable.Range(0, 4000).Select(i => $"{i} {new string('é', i % 300)}\n").ToList();
        for (var i = 0; i < lines.Count; i += 1000)
        {
            await connection.Api.FileStreamAsync(Run, "output.log", i, lines.GetRange(i, 1000), default);
        }

        await connection.Api.CompleteAsync(Run, 0, default);
        Assert.Equal(string.Concat(lines), Encoding.UTF8.GetString(await GetAsync(server.Url, "output.log")));
    }

    // A database as the code before made it: content in the rows.
    private static void Older(string path, byte[][] contents)
    {
        using var connection = new SqliteConnection($"Data Source={path};Pooling=false");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = """
            PRAGMA journal_mode = WAL;
            CREATE TABLE projects (id INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL, description TEXT, created_at TEXT NOT NULL, UNIQUE (entity, name));
            CREATE TABLE runs (
              id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL, display_name TEXT, description TEXT, notes TEXT, tags TEXT NOT NULL DEFAULT '[]',
              state TEXT NOT NULL, stopped INTEGER NOT NULL DEFAULT 0, config TEXT NOT NULL DEFAULT '{}', summary TEXT NOT NULL DEFAULT '{}', grp TEXT, job_type TEXT, sweep TEXT,
              commit_hash TEXT, host TEXT, program TEXT, repo TEXT, user TEXT, exit_code INTEGER, created_at TEXT NOT NULL, heartbeat_at TEXT, updated_at TEXT, UNIQUE (project, name));
            CREATE TABLE files (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, name TEXT NOT NULL, md5 TEXT, size INTEGER NOT NULL, updated_at TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (run, name));
            CREATE TABLE history (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, line INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (run, line)) WITHOUT ROWID;
            CREATE TABLE console (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, line INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (run, line)) WITHOUT ROWID;
            CREATE TABLE blobs (entity TEXT NOT NULL, md5 TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (entity, md5));
            INSERT INTO projects VALUES (1, 'local', 'files', NULL, '2026-01-01T00:00:00.000');
            INSERT INTO runs (id, project, name, state, created_at) VALUES (1, 1, 'files001', 'finished', '2026-01-01T00:00:00.000');
            """;
        command.ExecuteNonQuery();
        using var transaction = connection.BeginTransaction();
        command.Transaction = transaction;
        command.CommandText =
            "INSERT INTO files VALUES (1, $n, $b, length($c), '2026-01-01T00:00:00.000', $c); INSERT OR IGNORE INTO blobs VALUES ('local', $m, $c)";
        for (var i = 0; i < contents.Length; i++)
        {
            var md5 = MD5.HashData(contents[i]);
            command.Parameters.Clear();
            command.Parameters.AddWithValue("$n", "f" + i.ToString(CultureInfo.InvariantCulture));
            command.Parameters.AddWithValue("$b", Convert.ToBase64String(md5));
            command.Parameters.AddWithValue("$m", Convert.ToHexString(md5).ToLowerInvariant());
            command.Parameters.AddWithValue("$c", contents[i]);
            command.ExecuteNonQuery();
        }

        transaction.Commit();
    }

    /// <summary>A file that somebody writes to while it is read.</summary>
    private sealed class Changing(Stream inner) : Stream
    {
        private int _readings;

        public override bool CanRead => true;
        public override bool CanSeek => true;
        public override bool CanWrite => false;
        public override long Length => inner.Length;
        public override long Position
        {
            get => inner.Position;
            set => inner.Position = value;
        }

        public override int Read(byte[] buffer, int offset, int count)
        {
            var read = inner.Read(buffer, offset, count);
            if (inner.Position == read && ++_readings > 1)
            {
                buffer[offset] ^= 1;
            }

            return read;
        }

        public override long Seek(long offset, SeekOrigin origin) => inner.Seek(offset, origin);

        public override void Flush() { }

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
