using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using Polly;
using Polly.Retry;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>
/// Files: streams between disk and connection, of any size. A transfer that is cut goes on where it stopped, as long as
/// it gets further: downloads by ranges, uploads by parts where the address takes them.
/// </summary>
internal sealed class FileTransfers(
    GraphQLTransport transport,
    HttpClient client,
    WandbSettings settings,
    ServerFaults faults,
    RateLimit rate,
    RequestRetry retry
)
{
    /// <summary>Smaller files are sent again whole, without a question first.</summary>
    private const long WorthResuming = 8 << 20;

    /// <summary>The upload header of a server whose addresses take parts.</summary>
    private const string TakesParts = "X-WandbLaunch-Upload:resumable";

    /// <summary>Tries without a byte of progress between them.</summary>
    private const int IdleTries = 8;

    /// <summary>A connection that is silent for so long is dead.</summary>
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(60);

    /// <summary>Opens a file for reading. The key goes only to the API's own host, also where that sends on to another.</summary>
    internal async Task<HttpResponseMessage> DownloadAsync(string url, CancellationToken token)
    {
        var target = FileUri(url);
        var response = await FollowAsync(
            target,
            here => transport.SendFileAsync(() => GetRequest(here), HttpCompletionOption.ResponseHeadersRead, token)
        );
        await ServerFaults.EnsureSuccessAsync(response, target.AbsolutePath, token);
        return response;
    }

    // A file may be on another host by design; each host gets only what is meant for it.
    private async Task<HttpResponseMessage> FollowAsync(Uri target, Func<Uri, Task<HttpResponseMessage>> send)
    {
        for (var moves = 0; ; moves++)
        {
            var here = target;
            var response = await send(here);
            if (!ServerFaults.IsRedirect(response))
            {
                return response;
            }

            target = response.Headers.Location is { } next ? new Uri(here, next) : here;
            response.Dispose();
            if (
                moves == 10
                || target.Scheme is not ("http" or "https")
                || (here.Scheme == "https" && target.Scheme == "http")
            )
            {
                throw faults.Redirected(here.AbsolutePath, target);
            }
        }
    }

    private HttpRequestMessage GetRequest(Uri target)
    {
        var request = transport.NewRequest(HttpMethod.Get, target);
        request.Headers.Authorization = FileAuthorization(target);
        return request;
    }

    /// <summary>
    /// Saves a file. It appears under its name when it is whole and, where an MD5 is given, right. What a download of
    /// known MD5 left behind when it was stopped is gone on with by the next.
    /// </summary>
    /// <exception cref="LaunchException"><c>FileDamaged</c> and those of a request.</exception>
    internal async Task DownloadToAsync(
        string url,
        string name,
        string path,
        string? md5,
        long? size,
        CancellationToken token
    )
    {
        var target = FileUri(url);
        if (md5 is not { Length: 24 })
        {
            md5 = null;
        }

        using var part = PartialDownload.Open(path, md5);
        try
        {
            var inherited = part.Length > 0;
            while (true)
            {
                await Transfer(() => part.Length)
                    .ExecuteAsync(async cancel => await ReceiveAsync(part, target, name, size, cancel), token);
                var digest = part.Digest();
                if (md5 is null || md5 == digest)
                {
                    break;
                }

                if (!inherited)
                {
                    throw new LaunchException(
                        "FileDamaged",
                        LaunchErrorCategory.InvalidData,
                        $"{name} arrived damaged: its MD5 is {digest}, the server says {md5}. Try again.",
                        name
                    );
                }

                // What an earlier download left was not the beginning of this.
                inherited = false;
                part.Restart();
            }

            part.MoveTo(path);
        }
        catch (TransferCutException e)
        {
            part.Keep = md5 is not null;
            throw Explain(e, name);
        }
        catch (OperationCanceledException)
        {
            part.Keep = md5 is not null;
            throw;
        }
    }

    /// <summary>Sends a file by PUT; <paramref name="headers"/> are the server's <c>Name:value</c> lines.</summary>
    internal async Task UploadAsync(string url, Func<Stream> open, IEnumerable<string> headers, CancellationToken token)
    {
        var target = FileUri(url);
        var lines = headers.ToList();
        if (lines.Contains(TakesParts, StringComparer.OrdinalIgnoreCase))
        {
            var source = open();
            await using (source)
            {
                if (source.CanSeek && source.Length >= WorthResuming)
                {
                    await UploadPartsAsync(target, source, lines, token);
                    return;
                }
            }
        }

        using var response = await transport.SendFileAsync(
            () => UploadRequest(target, new StreamContent(open()), lines),
            HttpCompletionOption.ResponseContentRead,
            token
        );
        await ServerFaults.EnsureSuccessAsync(response, target.AbsolutePath, token);
    }

    private async Task UploadPartsAsync(Uri target, Stream source, List<string> lines, CancellationToken token)
    {
        var size = source.Length;
        var digest = $"sha-256=:{Convert.ToBase64String(await SHA256.HashDataAsync(source, token))}:";
        var received = 0L;
        var answered = false;
        try
        {
            await Transfer(() => received)
                .ExecuteAsync(
                    async cancel =>
                    {
                        // First only asks how much is there: this may not be the first try, nor the first process.
                        for (var part = false; ; part = true)
                        {
                            using var request = UploadRequest(
                                target,
                                part ? new PartContent(source, received, size) : new ByteArrayContent([]),
                                lines
                            );
                            request.Headers.TryAddWithoutValidation("Repr-Digest", digest);
                            request.Headers.ExpectContinue = part;
                            request.Content!.Headers.ContentRange = part
                                ? new ContentRangeHeaderValue(received, size - 1, size)
                                : new ContentRangeHeaderValue(size);
                            using var response = await SendOnceAsync(
                                request,
                                HttpCompletionOption.ResponseHeadersRead,
                                answered,
                                cancel
                            );
                            answered = true;
                            if (response.StatusCode != HttpStatusCode.PermanentRedirect)
                            {
                                await ServerFaults.EnsureSuccessAsync(response, target.AbsolutePath, cancel);
                                return;
                            }

                            var before = received;
                            received = Received(response, size);
                            if (part && received <= before)
                            {
                                throw new TransferCutException("the server took nothing of a part");
                            }
                        }
                    },
                    token
                );
        }
        catch (TransferCutException e)
        {
            throw Explain(e, target.AbsolutePath);
        }
    }

    private HttpRequestMessage UploadRequest(Uri target, HttpContent content, List<string> lines)
    {
        var request = transport.NewRequest(HttpMethod.Put, target);
        request.Content = content;
        request.Headers.Authorization = FileAuthorization(target);
        foreach (var parts in lines.Select(l => l.Split(':', 2)).Where(p => p.Length == 2))
        {
            if (!request.Headers.TryAddWithoutValidation(parts[0], parts[1]))
            {
                request.Content.Headers.TryAddWithoutValidation(parts[0], parts[1]);
            }
        }

        return request;
    }

    // "bytes=0-k": k + 1 bytes are there. Without the header, none.
    private static long Received(HttpResponseMessage response, long size)
    {
        const string Start = "bytes=0-";
        return
            response.Headers.TryGetValues("Range", out var values)
            && values.First() is var range
            && range.StartsWith(Start, StringComparison.Ordinal)
            && long.TryParse(range.AsSpan(Start.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var last)
            && last < size
            ? last + 1
            : 0;
    }

    private async Task ReceiveAsync(PartialDownload part, Uri target, string name, long? size, CancellationToken token)
    {
        var from = part.Resumable ? part.Length : 0;
        using var response = await FollowAsync(
            target,
            async here =>
            {
                using var request = GetRequest(here);
                if (from > 0)
                {
                    request.Headers.Range = new RangeHeaderValue(from, null);
                    request.Headers.IfRange = part.Tag is null ? null : new RangeConditionHeaderValue(part.Tag);
                }

                return await SendOnceAsync(request, HttpCompletionOption.ResponseHeadersRead, part.Length > 0, token);
            }
        );
        var range = response.Content.Headers.ContentRange;
        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable && from > 0)
        {
            if (range?.Length == from)
            {
                // It was whole already.
                return;
            }

            part.Restart();
            throw new TransferCutException("the file is another now");
        }

        await ServerFaults.EnsureSuccessAsync(response, target.AbsolutePath, token);
        var length = response.Content.Headers.ContentLength;
        if (response.StatusCode != HttpStatusCode.PartialContent)
        {
            part.Restart();
        }
        else if (range?.From != from || length is null)
        {
            part.Restart();
            part.Resumable = false;
            throw new TransferCutException("the server sent another part than was asked for");
        }

        // Without a length the content was unpacked on its way: its places are not those of a range.
        part.Tag = response.Headers.ETag is { IsWeak: false } tag ? tag : null;
        part.Resumable = length is not null && (part.Tag is not null || part.HasDigest);
        var input = await response.Content.ReadAsStreamAsync(token);
        await using (input)
        {
            var block = new byte[1 << 17];
            while (true)
            {
                var read = await ReadAsync(input, block, token);
                if (read == 0)
                {
                    return;
                }

                if (size > 0 && part.Length + read > size)
                {
                    throw new LaunchException(
                        "FileDamaged",
                        LaunchErrorCategory.InvalidData,
                        $"{name} arrived damaged: it is longer than the {size} bytes that the server said. Try again.",
                        name
                    );
                }

                await part.WriteAsync(block.AsMemory(0, read), token);
            }
        }
    }

    private static async Task<int> ReadAsync(Stream input, byte[] block, CancellationToken token)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(token);
        limit.CancelAfter(Silence);
        try
        {
            return await input.ReadAsync(block, limit.Token);
        }
        catch (Exception e)
            when (e is IOException or HttpRequestException
                || (e is OperationCanceledException && !token.IsCancellationRequested)
            )
        {
            throw new TransferCutException(e is IOException ? e.Message : "nothing came for a minute", e);
        }
    }

    // One request, whose faults that may heal are said as such. Once something came over, a server that does not answer is one that starts again.
    private async Task<HttpResponseMessage> SendOnceAsync(
        HttpRequestMessage request,
        HttpCompletionOption completion,
        bool begun,
        CancellationToken token
    )
    {
        await rate.WaitAsync(token);
        Interlocked.Increment(ref transport.Requests);
        HttpResponseMessage response;
        try
        {
            response = await client.SendAsync(request, completion, token);
        }
        catch (HttpRequestException e)
        {
            throw begun || RequestRetry.IsTransient(e) ? new TransferCutException(e.Message, e) : faults.Explain(e);
        }

        rate.Note(response);
        var status = (int)response.StatusCode;
        if (status >= 400 && status != 416 && !RequestRetry.IsFinal(status))
        {
            var after = response.Headers.RetryAfter?.Delta;
            var detail = await ServerFaults.ErrorBodyAsync(response, token);
            response.Dispose();
            throw new TransferCutException($"HTTP {status} {detail}") { RetryAfter = after };
        }

        return response;
    }

    private Uri FileUri(string url) => new(new Uri(transport.BaseUrl + "/"), url);

    // Protocol A.1: file downloads use the literal user name "user". Signed URLs of a storage host must not see the key.
    private AuthenticationHeaderValue? FileAuthorization(Uri target) =>
        settings.ApiKey is { } key && transport.IsOwn(target) ? GraphQLTransport.Basic("user", key) : null;

    private ResiliencePipeline Transfer(Func<long> position)
    {
        var best = position();
        var idle = 0;
        return new ResiliencePipelineBuilder { TimeProvider = transport.Time }
            .AddRetry(
                new RetryStrategyOptions
                {
                    MaxRetryAttempts = int.MaxValue,
                    ShouldHandle = args =>
                    {
                        if (args.Outcome.Exception is not TransferCutException || settings.NoRetry)
                        {
                            return ValueTask.FromResult(false);
                        }

                        idle = position() > best ? 1 : idle + 1;
                        best = Math.Max(best, position());
                        return ValueTask.FromResult(idle <= IdleTries);
                    },
                    DelayGenerator = args =>
                        ValueTask.FromResult<TimeSpan?>(
                            (args.Outcome.Exception as TransferCutException)?.RetryAfter
                                ?? TimeSpan.FromSeconds(Math.Min(30, Math.Pow(2, idle - 2)))
                        ),
                    OnRetry = args =>
                    {
                        retry.OnRetry?.Invoke(
                            Secrets.Mask(
                                $"{transport.BaseUrl}: {args.Outcome.Exception?.Message}; going on at byte {position()} in {args.RetryDelay.TotalSeconds:0.#} s"
                            )
                        );
                        return ValueTask.CompletedTask;
                    },
                }
            )
            .Build();
    }

    private LaunchException Explain(TransferCutException e, string name) =>
        e.InnerException is HttpRequestException cause
            ? faults.Explain(cause)
            : new LaunchException(
                "TransferCut",
                LaunchErrorCategory.ConnectionError,
                $"The transfer of {name} was cut again and again, and got no further: {e.Message}. Try again; it goes on where it stopped where it can.",
                name,
                e
            );

    private sealed class TransferCutException(string message, Exception? inner = null) : Exception(message, inner)
    {
        internal TimeSpan? RetryAfter { get; init; }
    }

    /// <summary>The rest of a file from some place on; the file stays open for the next try.</summary>
    private sealed class PartContent(Stream source, long from, long size) : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            SerializeToStreamAsync(stream, context, default);

        protected override async Task SerializeToStreamAsync(
            Stream stream,
            TransportContext? context,
            CancellationToken cancellationToken
        )
        {
            source.Position = from;
            var block = new byte[1 << 17];
            for (var left = size - from; left > 0; )
            {
                var read = await source.ReadAsync(
                    block.AsMemory(0, (int)Math.Min(block.Length, left)),
                    cancellationToken
                );
                if (read == 0)
                {
                    throw new EndOfStreamException("The file became shorter while it was sent.");
                }

                await stream.WriteAsync(block.AsMemory(0, read), cancellationToken);
                left -= read;
            }
        }

        protected override bool TryComputeLength(out long length)
        {
            length = size - from;
            return true;
        }
    }
}
