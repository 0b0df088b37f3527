using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Logging;

/// <summary>
/// What the server has to say, in a file beside the database: the last of it, and never more than a megabyte. Its own
/// words only: the framework's are about connections of others, and say nothing that the answers do not.
/// </summary>
internal sealed class FileLoggerProvider(Func<string> place) : ILoggerProvider
{
    private const string Ours = "WandbLaunch.";
    private const long MostBytes = 512 << 10;

    private readonly object _lock = new();

    public ILogger CreateLogger(string categoryName) => new FileLogger(this, categoryName);

    public void Dispose() { }

    private void Write(string text)
    {
        try
        {
            var path = place();
            lock (_lock)
            {
                if (new FileInfo(path) is { Exists: true, Length: > MostBytes })
                {
                    File.Move(path, path + ".old", true);
                }

                var options = new FileStreamOptions { Mode = FileMode.Append, Access = FileAccess.Write };
                if (!OperatingSystem.IsWindows())
                {
                    options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
                }

                using var writer = new StreamWriter(path, options);
                writer.WriteLine(text);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A full disk is no reason to fail twice.
        }
    }

    private sealed class FileLogger(FileLoggerProvider provider, string category) : ILogger
    {
        private readonly bool _isOurs = category.StartsWith(Ours, StringComparison.Ordinal);

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => _isOurs && logLevel is >= LogLevel.Warning and not LogLevel.None;

        public void Log<TState>(
            LogLevel logLevel,
            EventId eventId,
            TState state,
            Exception? exception,
            Func<TState, Exception?, string> formatter
        )
        {
            if (IsEnabled(logLevel))
            {
                var story = exception is null ? "" : " " + JsonLimits.Short(exception.ToString(), 20_000);
                provider.Write($"{Database.Now} {formatter(state, exception)}{story}");
            }
        }
    }
}
