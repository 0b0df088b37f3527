using System.Buffers;
using System.Globalization;
using System.Text.Json;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>Bodies of requests, up to a limit.</summary>
internal static class Bodies
{
    internal const int Megabyte = 1 << 20;

    /// <summary>Reads a body up to its limit.</summary>
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

    private static RequestFault TooLarge(int limit) =>
        new(
            413,
            string.Create(
                CultureInfo.InvariantCulture,
                $"The body has more than {limit:N0} bytes, the most that is taken here. Send it in parts."
            )
        );
}
