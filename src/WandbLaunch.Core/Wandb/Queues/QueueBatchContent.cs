using System.Buffers;
using System.Net;
using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using System.Text.Json;

namespace WandbLaunch.Wandb;

/// <summary>Many items as the body of one request (the own server's batches), written piece by piece: a whole body would be a large object of the collector's for each request.</summary>
internal sealed class QueueBatchContent : HttpContent
{
    private const int Piece = 32 * 1024;

    private readonly IReadOnlyList<QueuePush> _items;

    internal QueueBatchContent(IReadOnlyList<QueuePush> items)
    {
        _items = items;
        Headers.ContentType = new MediaTypeHeaderValue("application/json");
    }

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override async Task SerializeToStreamAsync(
        Stream stream,
        TransportContext? context,
        CancellationToken cancellationToken
    )
    {
        var buffer = new ArrayBufferWriter<byte>(2 * Piece);
        using var writer = new Utf8JsonWriter(buffer);
        writer.WriteStartArray();
        for (var i = 0; i < _items.Count; i++)
        {
            Write(writer, _items[i]);
            if (buffer.WrittenCount + writer.BytesPending > Piece)
            {
                writer.Flush();
                await stream.WriteAsync(buffer.WrittenMemory, cancellationToken);
                buffer.ResetWrittenCount();
            }
        }

        writer.WriteEndArray();
        writer.Flush();
        await stream.WriteAsync(buffer.WrittenMemory, cancellationToken);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Write(Utf8JsonWriter writer, QueuePush item)
    {
        writer.WriteStartObject();
        writer.WritePropertyName("runSpec");
        writer.WriteRawValue(item.Json, true);
        if (item.Priority is { } priority)
        {
            writer.WriteNumber("priority", priority);
        }

        if (item.TemplateVariables is { Count: > 0 } variables)
        {
            writer.WritePropertyName("templateVariableValues");
            variables.WriteTo(writer);
        }

        writer.WriteEndObject();
    }
}
