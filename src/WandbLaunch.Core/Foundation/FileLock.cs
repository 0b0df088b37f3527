namespace WandbLaunch.Foundation;

/// <summary>A lock between processes: an open file that nobody else may open. It ends with its process.</summary>
internal sealed class FileLock : IDisposable
{
    private readonly FileStream _stream;

    private FileLock(FileStream stream) => _stream = stream;

    internal static FileLock? TryEnter(string path)
    {
        try
        {
            return new FileLock(
                FileModes.OpenPrivate(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None)
            );
        }
        catch (IOException e)
            when (e is not (DirectoryNotFoundException or FileNotFoundException or PathTooLongException))
        {
            return null;
        }
    }

    internal static async Task<FileLock> EnterAsync(string path, CancellationToken token)
    {
        var wait = 5;
        while (true)
        {
            if (TryEnter(path) is { } held)
            {
                return held;
            }

            await Task.Delay(wait, token);
            wait = Math.Min(wait * 2, 250);
        }
    }

    public void Dispose() => _stream.Dispose();
}
