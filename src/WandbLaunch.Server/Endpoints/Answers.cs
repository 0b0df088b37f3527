using System.Buffers;
using System.Globalization;
using System.Text.Json;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server;

/// <summary>Bodies in, and faults out: each with a status and a reason as JSON.</summary>
internal static class Answers
{
    internal const int Megabyte = 1 << 20;

    /// <summary>Answers a request that cannot be done, in the shape that its clients read.</summary>
    internal static Task FaultAsync(HttpContext context, int status, string message)
    {
        context.Response.StatusCode = status;
        message = JsonLimits.Short(message, 1000);
        return context.Request.Path == "/graphql"
            ? context.Response.WriteAsJsonAsync(new { errors = new[] { new { message } } })
            : context.Response.WriteAsJsonAsync(new { error = message });
    }

    /// <summary>Reads a body up to its limit. What is beyond is read away and not kept.</summary>
    internal static async Task<ReadOnlyMemory<byte>> ReadAsync(HttpContext context, int limit)
    {
        var length = context.Request.ContentLength;
        if (length > limit)
        {
            throw TooLarge(limit);
        }

        var body = new ArrayBufferWriter<byte>((int)Math.Max(length ?? 4096, 256));
        while (true)
        {
            var read = await context.Request.Body.ReadAsync(body.GetMemory(1 << 12), context.RequestAborted);
            if (read == 0)
            {
                return body.WrittenMemory;
            }

            body.Advance(read);
            if (body.WrittenCount > limit)
            {
                throw TooLarge(limit);
            }
        }
    }

    /// <summary>Reads a body as JSON.</summary>
    internal static async Task<JsonDocument> ReadJsonAsync(HttpContext context, int limit)
    {
        var body = await ReadAsync(context, limit);
        try
        {
            return JsonDocument.Parse(body);
        }
        catch (JsonException e)
        {
            throw new RequestFault(400, "The body is not JSON: " + JsonLimits.Short(e.Message, 200));
        }
    }

    /// <summary>Turns whatever a request comes to into an answer; what nobody foresaw has an id here and its story in the log.</summary>
    internal static async Task CatchAsync(HttpContext context, RequestDelegate next, ErrorLog log)
    {
        try
        {
            await next(context);
        }
        catch (Exception e) when (context.RequestAborted.IsCancellationRequested)
        {
            _ = e;
        }
        catch (Exception e) when (!context.Response.HasStarted)
        {
            // Of the answer that was to be nothing stays but what holds for every answer.
            context.Response.Headers.ContentLength = null;
            context.Response.Headers.ContentType = default;
            context.Response.Headers.ContentDisposition = default;
            var (status, message) = Explain(e, log);
            await FaultAsync(context, status, message);
        }
        catch (Exception e)
        {
            // Half an answer is out: cut off, it cannot be taken for a whole one.
            log.Write(e);
            context.Abort();
        }
    }

    internal static (int Status, string Message) Explain(Exception e, ErrorLog log) =>
        e switch
        {
            RequestFault fault => (fault.Status, fault.Message),
            ServerFault fault => (400, fault.Message),
            BadHttpRequestException fault => (fault.StatusCode, fault.Message),
            _ when IsFull(e) => (
                507,
                "There is no room on the server's disk: nothing was written. Make room, or move its database."
            ),
            SqliteException { SqliteErrorCode: SQLitePCL.raw.SQLITE_BUSY or SQLitePCL.raw.SQLITE_LOCKED } => (
                503,
                "Another program has the server's database locked."
            ),
            SqliteException { SqliteErrorCode: SQLitePCL.raw.SQLITE_CORRUPT or SQLitePCL.raw.SQLITE_NOTADB } => (
                500,
                $"The server's database is damaged. Stop the server and restore it from a copy ({log.Write(e)})."
            ),
            _ => (500, $"The server failed at this; its log has the reason under {log.Write(e)}."),
        };

    /// <summary>True where a disk, or what the database may take of it, is full.</summary>
    internal static bool IsFull(Exception? e) =>
        e switch
        {
            SqliteException sqlite => sqlite.SqliteErrorCode == SQLitePCL.raw.SQLITE_FULL
                || sqlite.SqliteExtendedErrorCode
                    is SQLitePCL.raw.SQLITE_IOERR_WRITE
                        or SQLitePCL.raw.SQLITE_IOERR_SHMSIZE,
            // ENOSPC, EDQUOT; ERROR_DISK_FULL, ERROR_HANDLE_DISK_FULL.
            IOException io => (io.HResult & 0xffff) is 28 or 122 && !OperatingSystem.IsWindows()
                || (io.HResult & 0xffff) is 112 or 39 && OperatingSystem.IsWindows(),
            _ => e?.InnerException is { } inner && IsFull(inner),
        };

    private static RequestFault TooLarge(int limit) =>
        new(
            413,
            string.Create(
                CultureInfo.InvariantCulture,
                $"The body has more than {limit:N0} bytes, the most that is taken here. Send it in parts."
            )
        );
}

/// <summary>Faults that nobody foresaw, in a file beside the database; the last of them, and never more than a megabyte.</summary>
internal sealed class ErrorLog(string path)
{
    private readonly object _lock = new();

    /// <summary>Notes it, and gives the id to look for.</summary>
    internal string Write(Exception e)
    {
        var id = Guid.NewGuid().ToString("n")[..12];
        try
        {
            lock (_lock)
            {
                if (new FileInfo(path) is { Exists: true, Length: > Answers.Megabyte / 2 })
                {
                    File.Move(path, path + ".old", true);
                }

                var options = new FileStreamOptions { Mode = FileMode.Append, Access = FileAccess.Write };
                if (!OperatingSystem.IsWindows())
                {
                    options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
                }

                using var writer = new StreamWriter(path, options);
                writer.WriteLine($"{Store.Now} {id} {JsonLimits.Short(e.ToString(), 20_000)}");
            }
        }
        catch (Exception inner) when (inner is IOException or UnauthorizedAccessException)
        {
            // A full disk is no reason to fail twice.
        }

        return id;
    }
}
