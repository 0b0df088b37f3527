using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>Content that fits into memory: every answer has a size.</summary>
internal static class AnswerBody
{
    /// <summary>The bytes of an answer, as long as they are no more than these.</summary>
    /// <exception cref="LaunchException"><c>FileTooLarge</c>.</exception>
    internal static async Task<byte[]> ReadAsync(
        HttpResponseMessage response,
        string name,
        long limit,
        CancellationToken token
    )
    {
        if (response.Content.Headers.ContentLength > limit)
        {
            throw SafeFolder.TooLarge(name, limit);
        }

        using var buffer = new MemoryStream();
        var stream = await response.Content.ReadAsStreamAsync(token);
        await using (stream)
        {
            var block = new byte[81920];
            int read;
            while ((read = await stream.ReadAsync(block, token)) > 0)
            {
                buffer.Write(block, 0, read);
                if (buffer.Length > limit)
                {
                    throw SafeFolder.TooLarge(name, limit);
                }
            }
        }

        return buffer.ToArray();
    }
}
