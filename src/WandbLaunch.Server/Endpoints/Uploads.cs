using System.Buffers;
using System.Globalization;
using Microsoft.Net.Http.Headers;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>
/// Content on its way in: a stream from the connection to the disk, whole or in parts (<c>Content-Range: bytes
/// a-b/total</c>, as resumable uploads of Google's storage).
/// </summary>
internal static class Uploads
{
    /// <summary>Does the work of an upload, and answers with what is wrong with it.</summary>
    internal static async Task AnswerAsync(HttpContext context, Func<Task> work)
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

    /// <summary>Takes what the request brings, and has it saved once it is whole.</summary>
    internal static async Task ReceiveAsync(
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
}
