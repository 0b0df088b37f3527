using Microsoft.Data.Sqlite;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>Turns whatever a request comes to into an answer with a status and a reason as JSON; what nobody foresaw has an id there and its story in the log.</summary>
internal sealed partial class FaultAnswers(ILogger<FaultAnswers> log)
{
    /// <summary>Answers a request that cannot be done, in the shape that its clients read.</summary>
    internal static Task WriteAsync(HttpContext context, int status, string message)
    {
        context.Response.StatusCode = status;
        message = JsonLimits.Short(message, 1000);
        return context.Request.Path == "/graphql"
            ? context.Response.WriteAsJsonAsync(new { errors = new[] { new { message } } })
            : context.Response.WriteAsJsonAsync(new { error = message });
    }

    /// <summary>The middleware around everything.</summary>
    internal async Task InvokeAsync(HttpContext context, RequestDelegate next)
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
            var (status, message) = Explain(e);
            await WriteAsync(context, status, message);
        }
        catch (Exception e)
        {
            // Half an answer is out: cut off, it cannot be taken for a whole one.
            Log(e);
            context.Abort();
        }
    }

    internal (int Status, string Message) Explain(Exception e) =>
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
                $"The server's database is damaged. Stop the server and restore it from a copy ({Log(e)})."
            ),
            _ => (500, $"The server failed at this; its log has the reason under {Log(e)}."),
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

    // The id to look for.
    private string Log(Exception e)
    {
        var id = Guid.NewGuid().ToString("n")[..12];
        Unforeseen(log, id, e);
        return id;
    }

    [LoggerMessage(1, LogLevel.Error, "{Id}")]
    private static partial void Unforeseen(ILogger log, string id, Exception e);
}
