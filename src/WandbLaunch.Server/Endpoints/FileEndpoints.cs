using System.Buffers;
using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.Net.Http.Headers;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>
/// Uploads and downloads of files. Both are streams between the connection and the disk. An upload may come in parts
/// (<c>Content-Range: bytes a-b/total</c>, as resumable uploads of Google's storage), a download may be of a part.
/// </summary>
internal static class FileEndpoints
{
    /// <summary>A manifest is read whole, so it has a limit; other files have that of the disk.</summary>
    private const long LargestManifest = 64 << 20;

    /// <summary>What clients are told to send along. It tells ours that this address takes parts.</summary>
    internal static readonly string[] UploadHeaders = ["X-WandbLaunch-Upload:resumable"];

    internal static void Map(WebApplication app, Store store)
    {
        var whole = new SizeLimit(null);
        app.MapGet(
            "/files/{entity}/{project}/{run}/{**name}",
            (string entity, string project, string run, string name, HttpContext context) =>
                Send(context, Find(store, entity, project, run) is { } found ? store.OpenFile(found, name) : null)
        );
        app.MapPut(
                "/files/{entity}/{project}/{run}/{**name}",
                (string entity, string project, string run, string name, HttpContext context) =>
                    AnswerAsync(
                        context,
                        async () =>
                        {
                            var found = Find(store, entity, project, run) ?? throw FileFault.NotFound();
                            CheckName(name);
                            await ReceiveAsync(
                                context,
                                store.Contents,
                                $"file\n{found.ToString(CultureInfo.InvariantCulture)}\n{name}",
                                null,
                                hash => store.HasFile(found, name, hash),
                                content => store.SaveFile(found, name, content)
                            );
                        }
                    )
            )
            .WithMetadata(whole);
        app.MapPut(
                "/artifacts/{entity}/{md5}",
                (string entity, string md5, HttpContext context) =>
                    AnswerAsync(
                        context,
                        () =>
                            ReceiveAsync(
                                context,
                                store.Contents,
                                $"blob\n{entity}\n{md5}",
                                IsMd5(md5) ? md5 : null,
                                _ => store.HasBlob(entity, md5),
                                content => store.SaveBlob(entity, content)
                            )
                    )
            )
            .WithMetadata(whole);
        app.MapGet(
            "/artifacts/{entity}/{md5}",
            (string entity, string md5, HttpContext context) => Send(context, store.OpenBlob(entity, md5))
        );

        // Of 2022: region/entity/artifact/md5; of today: …/project/collection/artifact[/artifact]/md5/name.
        app.MapGet(
            "/artifactsV2/{region}/{entity}/{**rest}",
            (string entity, string rest, HttpContext context) =>
                Send(context, rest.Split('/').FirstOrDefault(IsMd5) is { } md5 ? store.OpenBlob(entity, md5) : null)
        );
        app.MapPut(
                "/artifact-manifests/{id}",
                (string id, HttpContext context) =>
                    AnswerAsync(
                        context,
                        async () =>
                        {
                            using var body = new MemoryStream();
                            await context.Request.Body.CopyToAsync(body, context.RequestAborted);
                            store.SetManifest(Store.Id(id), body.ToArray());
                        }
                    )
            )
            .WithMetadata(new SizeLimit(LargestManifest));
        app.MapGet(
            "/artifact-manifests/{id}",
            (string id, HttpContext context) =>
                Send(
                    context,
                    store.Manifest(Store.Id(id)) is { } manifest
                        ? new StoredFile(
                            new MemoryStream(manifest),
                            Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(manifest))
                        )
                        : null
                )
        );
    }

    private static long? Find(Store store, string entity, string project, string run) =>
        store.Project(entity, project) is { } found ? store.Run(found, run)?.Key : null;

    private static bool IsMd5(string text) => text.Length == 32 && text.All(char.IsAsciiHexDigit);

    // Names are keys here and never paths. What no client could save below a folder is not taken.
    private static void CheckName(string name)
    {
        if (
            name.Length == 0
            || Encoding.UTF8.GetByteCount(name) > 1024
            || name[0] is '/' or '\\'
            || name.Any(char.IsControl)
            || name.Split('/', '\\').Contains("..")
        )
        {
            throw new FileFault(400, "FileNameInvalid", "The file's name is not one relative to its run.");
        }
    }

    private static IResult Send(HttpContext context, StoredFile? file)
    {
        if (file is null)
        {
            return Results.Json(new { error = "not found" }, statusCode: 404);
        }

        // Never as a page of this origin: the content is other people's.
        context.Response.Headers.ContentDisposition = "attachment";
        context.Response.Headers.XContentTypeOptions = "nosniff";
        return Results.Stream(
            file.Content,
            "application/octet-stream",
            entityTag: new EntityTagHeaderValue($"\"{file.Tag}\""),
            enableRangeProcessing: true
        );
    }

    private static async Task AnswerAsync(HttpContext context, Func<Task> work)
    {
        try
        {
            await work();
        }
        catch (FileFault e)
        {
            context.Response.StatusCode = e.StatusCode;
            if (e.StatusCode == 503)
            {
                context.Response.Headers.RetryAfter = "1";
            }

            await context.Response.WriteAsJsonAsync(new { error = e.Message, id = e.Id });
        }
        catch (BadHttpRequestException e) when (!context.Response.HasStarted)
        {
            // Too large, too slow, or shorter than it said.
            context.Response.StatusCode = e.StatusCode;
            await context.Response.WriteAsJsonAsync(new { error = e.Message, id = "UploadInvalid" });
        }
        catch (Exception e)
            when (e is IOException or OperationCanceledException && context.RequestAborted.IsCancellationRequested)
        {
            // The client is gone: there is nobody to answer.
        }
    }

    private static async Task ReceiveAsync(
        HttpContext context,
        FileStore files,
        string target,
        string? md5,
        Func<string, bool> has,
        Func<FileContent, bool> save
    )
    {
        var request = context.Request;
        var hash = Digest(request);
        if (request.Headers.ContentRange.Count == 0)
        {
            if (request.Headers.ContentMD5.ToString() is { Length: > 0 } given)
            {
                md5 =
                    Hexadecimal(given, 16) is { } wanted
                    && (md5 is null || wanted.Equals(md5, StringComparison.OrdinalIgnoreCase))
                        ? wanted
                        : "-";
            }

            files.EnsureRoom(request.ContentLength ?? 0);
            var single = files.Create();
            try
            {
                await CopyAsync(context, single, 0, long.MaxValue);
                End(files, single, hash, md5, save);
            }
            finally
            {
                FileStore.Discard(single);
            }

            return;
        }

        if (
            !ContentRangeHeaderValue.TryParse(request.Headers.ContentRange.ToString(), out var range)
            || range.Unit != "bytes"
            || range.Length is not { } total
            || (range.HasRange && request.ContentLength is { } length && length != range.To - range.From + 1)
        )
        {
            throw new FileFault(
                400,
                "UploadRangeInvalid",
                "Content-Range is not 'bytes first-last/total' of this body, nor 'bytes */total'."
            );
        }

        // Without a digest, parts belong together that were sent to one signed address.
        var upload = await files.ResumeAsync(
            $"{target}\n{total.ToString(CultureInfo.InvariantCulture)}\n{hash ?? "?" + request.Query["signature"]}",
            hash is not null,
            context.RequestAborted
        );
        var writer = upload.Writer;
        var (begun, ended) = (false, false);
        long received;
        try
        {
            if (writer.Length > total)
            {
                writer.Restart();
            }

            if (range.HasRange)
            {
                var from = range.From!.Value;
                if (from > writer.Length)
                {
                    throw new FileFault(
                        416,
                        "UploadOffsetInvalid",
                        $"The part begins at {from}, but {writer.Length} bytes are here. Ask with 'Content-Range: bytes */{total}' where to go on."
                    );
                }

                begun = true;
                if (from == 0)
                {
                    writer.Restart();
                }

                // Bytes that are here already are not taken again: what was hashed stays what it is.
                files.EnsureRoom(total - writer.Length);
                await CopyAsync(context, writer, writer.Length - from, range.To!.Value + 1 - from);
            }
            else if (hash is not null && has(hash))
            {
                // Whole already: the answer to the last part was lost.
                ended = true;
                return;
            }

            // A file of no bytes has no range that could be sent.
            received = writer.Length;
            if (received == total && (range.HasRange || total == 0 || hash is not null))
            {
                begun = ended = true;
                End(files, writer, hash, md5, save);
                return;
            }
        }
        catch (FileFault) when (begun)
        {
            // Nothing stays of an upload that was refused.
            ended = true;
            throw;
        }
        finally
        {
            files.Release(upload, ended);
        }

        context.Response.StatusCode = 308;
        if (received > 0)
        {
            context.Response.Headers.Range = "bytes=0-" + (received - 1).ToString(CultureInfo.InvariantCulture);
        }
    }

    private static async Task CopyAsync(HttpContext context, FileWriter writer, long skip, long most)
    {
        var block = ArrayPool<byte>.Shared.Rent(1 << 17);
        try
        {
            int read;
            while ((read = await context.Request.Body.ReadAsync(block, context.RequestAborted)) > 0)
            {
                most -= read;
                if (most < 0)
                {
                    throw new FileFault(400, "UploadRangeInvalid", "The body is longer than its Content-Range.");
                }

                var known = (int)Math.Min(skip, read);
                skip -= known;
                writer.Write(block.AsSpan(known, read - known));
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(block);
        }
    }

    private static void End(FileStore files, FileWriter writer, string? hash, string? md5, Func<FileContent, bool> save)
    {
        var (foundHash, foundMd5) = writer.Finish();
        if (
            (hash is not null && hash != foundHash)
            || (md5 is not null && !md5.Equals(Convert.ToHexString(foundMd5), StringComparison.OrdinalIgnoreCase))
        )
        {
            throw new FileFault(
                422,
                "UploadDamaged",
                "The content that arrived is not the one that its digest names. Nothing of it was kept; send it again."
            );
        }

        if (!save(files.Place(writer, foundHash, foundMd5)))
        {
            throw FileFault.NotFound();
        }
    }

    /// <summary>The SHA-256 of the whole content, as RFC 9530 has it.</summary>
    private static string? Digest(HttpRequest request)
    {
        const string Name = "sha-256=:";
        var header = request.Headers["Repr-Digest"].ToString();
        return header.Length == 0 ? null
            : header.StartsWith(Name, StringComparison.Ordinal)
            && header.EndsWith(':')
            && header.Length > Name.Length
            && Hexadecimal(header[Name.Length..^1], 32) is { } hash
                ? hash
            : throw new FileFault(400, "UploadDigestInvalid", "Repr-Digest is not 'sha-256=:<base64>:'.");
    }

    private static string? Hexadecimal(string base64, int bytes)
    {
        var found = new byte[bytes + 3];
        return Convert.TryFromBase64String(base64, found, out var count) && count == bytes
            ? Convert.ToHexString(found.AsSpan(0, count)).ToLowerInvariant()
            : null;
    }

    private sealed class SizeLimit(long? bytes) : IRequestSizeLimitMetadata
    {
        public long? MaxRequestBodySize => bytes;
    }
}
